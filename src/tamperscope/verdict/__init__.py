"""From raw predictions to one honest verdict: calibrate, fuse, probe."""
