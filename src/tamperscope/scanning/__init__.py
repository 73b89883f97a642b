"""Scan one picture or many: the main job."""

from tamperscope.scanning.command import Command
from tamperscope.scanning.one import QUICK, Scanner, scan

__all__ = ["QUICK", "Command", "Scanner", "scan"]
