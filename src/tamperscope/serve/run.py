"""Runs the service in this process until it is told to end."""

from __future__ import annotations

import logging
import sys

import uvicorn

from tamperscope.serve.app import create
from tamperscope.serve.settings import Settings


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then finish what runs, as long as the settings say.

    Raises:
        InputError: Its database or its place for files cannot be opened.
        OSError: The port is taken.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    uvicorn.run(
        create(settings),
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
        h11_max_incomplete_event_size=64 * 1024,
    )
