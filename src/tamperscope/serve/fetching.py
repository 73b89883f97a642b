"""Requests that the service makes itself, to addresses that others name: https, public hosts, bounded in size and time.

A name is resolved once, every address of it must be public, and the connection goes to the address that was checked; so
a name that changes its mind between check and use leads nowhere. Redirects take the same way again.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore

from tamperscope.errors import InputError

REDIRECTS = 3
_TRANSLATED = tuple(ipaddress.ip_network(n) for n in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
"""Ranges of IPv6 that carry an address of IPv4 inside (NAT64, 6to4, Teredo)."""


def is_public(address: str) -> bool:
    """Return whether an IP address is one that anybody on the internet may be asked to reach."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if any(ip in network for network in _TRANSLATED):
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def checked(url: str) -> str:
    """Return an address that may be asked for.

    Raises:
        InputError: It is not https, holds a password, or has no host.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or 443
    except ValueError as error:
        raise InputError(f"expected an https address, found one with a port that is none: {error}") from error
    if parts.scheme != "https" or not parts.hostname or port == 0:
        raise InputError("expected an address that begins with https:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise InputError("expected an address without a user or password")
    return url


class _Pinned(httpcore.SyncBackend):
    """Connects to public addresses only, to the very one that was checked."""

    def __init__(self, resolve: Callable[..., Any], public: Callable[[str], bool]) -> None:
        self._resolve, self._public = resolve, public

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to a host, all of whose addresses are public."""
        try:
            found = list(dict.fromkeys(str(a[4][0]) for a in self._resolve(host, port, type=socket.SOCK_STREAM)))
        except OSError as error:
            raise httpcore.ConnectError(f"the host has no address: {error}") from error
        if not found or not all(map(self._public, found)):
            raise InputError("expected a host on the public internet")
        return super().connect_tcp(found[0], port, timeout, local_address, socket_options)


@dataclass(slots=True)
class Fetcher:
    """Fetches files and posts messages.

    Attributes:
        seconds: Longest time that one of them may take as a whole.
        resolve: Finds the addresses of a host, as `socket.getaddrinfo` does.
        public: Whether an address may be reached.
        trust: Certificates that are trusted; those of the system when None.
    """

    seconds: float = 20.0
    resolve: Callable[..., Any] = socket.getaddrinfo
    public: Callable[[str], bool] = is_public
    trust: ssl.SSLContext | None = None
    _pool: httpcore.ConnectionPool = field(init=False)

    def __post_init__(self) -> None:
        backend = _Pinned(self.resolve, self.public)
        context = self.trust or ssl.create_default_context()
        self._pool = httpcore.ConnectionPool(ssl_context=context, network_backend=backend, max_keepalive_connections=0)

    def get(self, url: str, target: Path, max_bytes: int) -> str:
        """Write what an address holds to a file, and return the address that it came from in the end.

        Raises:
            InputError: It may not be asked for, or does not answer, or not with a file.
        """
        end = time.monotonic() + self.seconds
        for _ in range(REDIRECTS + 1):
            with self._asked("GET", url, end) as answer:
                place = _header(answer, b"location")
                if answer.status in (301, 302, 303, 307, 308) and place:
                    url = urljoin(url, place)
                    continue
                if answer.status != 200:
                    raise InputError(f"expected the host to answer 200, found {answer.status}")
                _written(answer, target, max_bytes, end)
                return url
        raise InputError(f"expected at most {REDIRECTS} redirects, found more")

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post a message and return the status of the answer, of which no more is read.

        Raises:
            InputError: The address may not be asked for, or does not answer.
        """
        with self._asked("POST", url, time.monotonic() + self.seconds, body, headers) as answer:
            return answer.status

    @contextmanager
    def _asked(
        self, method: str, url: str, end: float, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Iterator[httpcore.Response]:
        left = max(0.1, end - time.monotonic())
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), min(left, 10.0))
        given = [(k.encode(), v.encode()) for k, v in {"User-Agent": "tamperscope", **(headers or {})}.items()]
        try:
            asked = self._pool.stream(
                method, checked(url), headers=given, content=body or None, extensions={"timeout": timeout}
            )
            with asked as answer:
                yield answer
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            OSError,
            UnicodeError,
        ) as error:
            raise InputError(f"the host could not be asked: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Let go of all connections."""
        self._pool.close()


def _header(answer: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in answer.headers if key.lower() == name), "")


def _written(answer: httpcore.Response, target: Path, max_bytes: int, end: float) -> None:
    length = _header(answer, b"content-length")
    if length.isdigit() and int(length) > max_bytes:
        raise InputError(f"expected at most {max_bytes:,} bytes, found {int(length):,}")
    size = 0
    with target.open("wb") as file:
        for chunk in answer.iter_stream():
            size += len(chunk)
            if size > max_bytes:
                raise InputError(f"expected at most {max_bytes:,} bytes, found more")
            if time.monotonic() > end:
                raise InputError("the host took too long to send the file")
            file.write(chunk)
