"""Data that the package ships: the calibration card, and weights of small networks with a card each."""
