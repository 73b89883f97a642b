"""Scan one picture or many: the main job."""

from tamperscope.scanning.job import Job
from tamperscope.scanning.one import QUICK, Scanner, scan

__all__ = ["QUICK", "Job", "Scanner", "scan"]
