"""Numbers of a running service, in Prometheus' format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Meters:
    """Counters and histograms of one service; a registry of its own, so that two can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tamperscope_requests",
            "Requests by route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.scans = Counter("tamperscope_scans", "Scans by how they ended.", ("outcome",), registry=self.registry)
        self.seconds = Histogram(
            "tamperscope_scan_seconds", "From acceptance to the end.", buckets=SECONDS, registry=self.registry
        )
        self.open = Gauge("tamperscope_jobs_open", "Jobs that wait or run.", registry=self.registry)
        self.workers = Gauge("tamperscope_workers", "Worker processes that live.", registry=self.registry)
        self.refused = Counter("tamperscope_refused", "Scans refused, by reason.", ("reason",), registry=self.registry)

    def text(self) -> bytes:
        """Return all numbers as text."""
        return generate_latest(self.registry)
