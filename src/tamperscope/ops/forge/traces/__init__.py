"""Trace-only forgeries: the content stays, a region passes another camera pipeline; one trace a file."""
