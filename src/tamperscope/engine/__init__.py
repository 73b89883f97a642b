"""Training of networks: recipes, data, checkpoints, validation."""
