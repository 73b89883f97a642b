"""Labelled forgeries made to order: drawn from a recipe, gated, recorded, and replayable from their record."""
