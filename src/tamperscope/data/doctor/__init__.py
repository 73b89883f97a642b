"""Examine a manifest and its pictures before anything is trained or measured on them."""

from tamperscope.data.doctor.examination import examine
from tamperscope.data.doctor.schema import Findings

__all__ = ["Findings", "examine"]
