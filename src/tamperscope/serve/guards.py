"""What stands before every route: size of the body, other sites' pages, one line of log and one count a request."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from tamperscope.serve.meters import Meters
from tamperscope.serve.problems import Problem, response
from tamperscope.serve.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
LOG = logging.getLogger("tamperscope.serve")
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
# A stricter referrer policy would make browsers send forms of our own page with the origin `null`.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"SAMEORIGIN"),
)


class Guard:
    """Refuses what is too large or comes from another site's page, adds headers, logs and counts."""

    def __init__(self, app: App, settings: Settings, meters: Meters) -> None:
        self.app, self.settings, self.meters = app, settings, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, read = time.perf_counter(), 500, 0
        limit, headers = self.settings.body_bytes, Headers(scope=scope)

        async def counted() -> MutableMapping[str, Any]:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise too_large(limit)
            return message

        async def told(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in HEADERS if h[0] not in present)]
            await send(message)

        try:
            problem = self._refused(scope, headers)
            if problem is not None:
                await response(problem)(scope, counted, told)
            else:
                await self.app(scope, counted, told)
        finally:
            self._tell(scope, status, read, time.perf_counter() - begun)

    def _refused(self, scope: Scope, headers: Headers) -> Problem | None:
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.settings.body_bytes:
            return too_large(self.settings.body_bytes)
        if scope["method"] in SAFE:
            return None
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != headers.get("host", "")
        if foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return Problem(403, "expected a request of this site's own page or of a program, found one of another site")
        return None

    def _tell(self, scope: Scope, status: int, read: int, seconds: float) -> None:
        # The pattern, not the path: an id or a name in it is nobody's business.
        route = getattr(scope.get("route"), "path", "unknown")
        self.meters.requests.labels(scope["method"] if scope["method"] in METHODS else "other", route, status).inc()
        told = {"method": scope["method"], "route": route, "status": status, "bytes": read}
        state = scope.get("state", {})
        told |= {"ms": round(1000 * seconds, 1), "key": state.get("key"), "job": state.get("job")}
        LOG.info(json.dumps({k: v for k, v in told.items() if v is not None}))


METHODS = SAFE | {"POST", "PUT", "PATCH", "DELETE"}


def too_large(limit: int) -> Problem:
    """Return the problem of a body over the limit."""
    return Problem(413, f"expected at most {limit:,} bytes in a request")
