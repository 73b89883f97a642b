"""What a person and a machine see of a scan: models, JSON lines, CSV, terminal and one HTML page."""

from __future__ import annotations

from tamperscope.report.schema import SCHEMA_VERSION, ErrorReport, Report

__all__ = ["SCHEMA_VERSION", "ErrorReport", "Report"]
