"""Data that the package ships: the calibration card."""
