"""All that the workers of a scan import, in one: read by the server that they are forked from, see `workers.prepare`.

To import it is its work, so nothing else may.
"""

from tamperscope.imports import uncollected

with uncollected():
    from tamperscope import registry
    from tamperscope.scanning import many  # noqa: F401
    from tamperscope.scanning.one import QUICK
    from tamperscope.signal import grid_lines, grid_votes  # noqa: F401

    for _name in QUICK:
        registry.detector_class(_name)
