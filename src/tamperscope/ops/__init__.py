"""Operations on samples: `(Sample, rng) -> Sample`, drawn parameters recorded in `meta["ops"]`."""
