"""Asking a network about a sample, without torch: what it needs, canvases in, map and score out, artifacts."""
