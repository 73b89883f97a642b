"""What classical detectors share: luma, block transforms, a-contrario tests, regions."""
