"""Scan one picture or many: the main job."""

from tamperscope.scanning.job import Job
from tamperscope.scanning.ledger import Ledger
from tamperscope.scanning.many import find_files, scan_many
from tamperscope.scanning.one import QUICK, Scanner, scan

__all__ = ["QUICK", "Job", "Ledger", "Scanner", "find_files", "scan", "scan_many"]
