"""Scan one picture or many: the main job."""

from tamperscope.scanning.many import Row, find_files, scan_many
from tamperscope.scanning.one import QUICK, Scanner, scan

__all__ = ["QUICK", "Row", "Scanner", "find_files", "scan", "scan_many"]
