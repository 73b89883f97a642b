"""Who looks at the page: a signed cookie, so that the service remembers nothing of it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from tamperscope.serve.keys import ANYONE, asks
from tamperscope.serve.settings import Key, Settings

COOKIE = "tamperscope"
SECONDS = 12 * 3600


class Sessions:
    """Makes and checks the cookies of one service."""

    def __init__(self, settings: Settings, secret: bytes) -> None:
        self._settings, self._secret = settings, secret

    def begin(self, request: Request, answer: Response, key: str) -> Key:
        """Let one who knows a key in, and remember it in the answer's cookie.

        Raises:
            Problem: 401, nobody has that key.
        """
        found = asks(self._settings, "", key)
        told = f"{found.name}|{int(time.time()) + SECONDS}"
        secure = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE, f"{told}|{self._sign(told)}", SECONDS, httponly=True, samesite="strict", secure=secure
        )
        return found

    def who(self, request: Request) -> Key | None:
        """Return who looks, or None where that must be asked first."""
        if not self._settings.keys:
            return ANYONE
        told, _, sign = request.cookies.get(COOKIE, "").rpartition("|")
        name, _, end = told.partition("|")
        if not hmac.compare_digest(sign.encode(), self._sign(told).encode()) or int(end) < time.time():
            return None
        return next((key for key in self._settings.keys if key.name == name), None)

    def _sign(self, told: str) -> str:
        return hmac.new(self._secret, told.encode("utf-8"), hashlib.sha256).hexdigest()


def secret_in(folder: Path) -> bytes:
    """Return the secret of a service, made at its first start and readable by its owner alone."""
    path = folder / "session.secret"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(handle, "wb") as file:
        secret = secrets.token_bytes(32)
        file.write(secret)
    return secret


def needed(found: Key | None) -> Key:
    """Return who looks.

    Raises:
        HTTPException: 303 to the form that asks for a key.
    """
    if found is None:
        raise HTTPException(303, "expected somebody who has signed in", {"Location": "/sign-in"})
    return found
