"""Masks of edited pictures whose originals are known: constrained auto-annotation (after CAAA of MIML, CVPR 2024).

Where both pictures are known it is far easier to tell what was edited than in one alone; so labels for blind networks
can be made of pairs that people put on the web. `relating` tells how two pictures are related, `mapping` what was
edited, `quality` how far the map can be trusted, `judging` puts these together, and `run` goes through lists of pairs.
"""
