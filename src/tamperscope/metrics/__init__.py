"""Exact metrics: pure functions of scores, truth and valid area."""
