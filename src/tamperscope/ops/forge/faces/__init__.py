"""Face forgeries: one file an operation; what they share is in `base` and `geometry`."""
