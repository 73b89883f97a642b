"""Who asks, how often, and how much at once."""

from __future__ import annotations

import hmac
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tamperscope.serve.problems import Problem
from tamperscope.serve.settings import Key, Settings, hashed

ANYONE = Key(name="anyone", sha256="0" * 64)
"""Who asks where no key is needed."""


def asks(settings: Settings, authorization: str, key: str) -> Key:
    """Return who asks.

    Args:
        settings: Hold the keys.
        authorization: Header `Authorization`, such as `Bearer KEY`.
        key: Header `X-API-Key`.

    Raises:
        Problem: 401, the key is missing or unknown.
    """
    if not settings.keys:
        return ANYONE
    scheme, _, token = authorization.partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else key
    digest, found = hashed(given), None
    for known in settings.keys:
        # Every key is compared, each in constant time, so that the time tells nothing.
        if hmac.compare_digest(known.sha256, digest):
            found = known
    if found is None or not given:
        raise Problem(401, "expected a known key as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
    return found


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    running: int = 0


@dataclass(slots=True)
class Limiter:
    """Token buckets for scans a minute, and counters for scans at once, by key.

    Attributes:
        settings: Hold the limits.
        clock: Seconds, never going back.
    """

    settings: Settings
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, key: Key) -> None:
        """Take one scan from what the key may do.

        Raises:
            Problem: 429, with the time after which to try again.
        """
        rate = (key.per_minute or self.settings.per_minute) / 60
        burst = max(1.0, rate * 60)
        at_once = key.at_once or self.settings.at_once
        with self._lock:
            now = self.clock()
            bucket = self._buckets.setdefault(key.name, _Bucket(burst, now))
            bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * rate)
            bucket.at = now
            if bucket.running >= at_once:
                raise Problem(429, f"expected at most {at_once} unfinished scans a key", retry=2)
            if bucket.tokens < 1:
                wait = math.ceil((1 - bucket.tokens) / rate)
                raise Problem(429, f"expected at most {rate * 60:g} scans a minute and key", retry=wait)
            bucket.tokens -= 1
            bucket.running += 1

    def leave(self, name: str) -> None:
        """Say that a scan of the key of that name is over."""
        with self._lock:
            if bucket := self._buckets.get(name):
                bucket.running = max(0, bucket.running - 1)
