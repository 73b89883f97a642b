"""Tells another service that a job has ended, with a signature that it can check.

The header `Tamperscope-Signature: t=TIME,v1=HEX` holds HMAC-SHA256 of `TIME.BODY` with the secret of the settings; one
who compares TIME with the clock is safe from messages that are sent again by somebody else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tamperscope.errors import InputError
from tamperscope.serve.fetching import Fetcher

HEADER = "Tamperscope-Signature"
PAUSES = (0.0, 5.0, 60.0)
"""Seconds before each attempt."""
LOG = logging.getLogger("tamperscope.serve")


def signature(secret: str, body: bytes, at: int) -> str:
    """Return the value of the header for a message sent at a time, in seconds of the epoch."""
    digest = hmac.new(secret.encode("utf-8"), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


@dataclass(slots=True)
class Webhooks:
    """Sends messages in the background, each at most three times.

    Attributes:
        secret: Signs them.
        fetcher: Sends them.
        pause: Waits between attempts.
    """

    secret: str
    fetcher: Fetcher = field(default_factory=Fetcher)
    pause: Callable[[float], None] = time.sleep
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "webhooks"))

    def send(self, url: str, message: dict[str, Any]) -> None:
        """Send a message as soon as a thread is free."""
        self._pool.submit(self._send, url, json.dumps(message).encode("utf-8"))

    def _send(self, url: str, body: bytes) -> bool:
        for pause in PAUSES:
            self.pause(pause)
            headers = {"Content-Type": "application/json", HEADER: signature(self.secret, body, int(time.time()))}
            try:
                status = self.fetcher.post(url, body, headers)
            except InputError as error:
                LOG.warning("a webhook was not delivered: %s", error)
                continue
            if 200 <= status < 300:
                return True
            LOG.warning("a webhook was answered with %d", status)
        return False

    def close(self) -> None:
        """Give up what has not been sent."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.fetcher.close()
