"""Errors as problem details (RFC 9457): one shape, whatever went wrong, and nothing of the inside in it."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

MEDIA = "application/problem+json"
LOG = logging.getLogger("tamperscope.serve")


class Problem(Exception):  # noqa: N818 - the name of RFC 9457
    """An answer that is an error.

    Args:
        status: HTTP status.
        detail: What was expected, what was found, how to mend it.
        retry: Seconds after which to try again, for the header of that name.
        more: Further members of the problem.
    """

    def __init__(self, status: int, detail: str, retry: float | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry, self.more = status, detail, retry, more


def response(problem: Problem) -> JSONResponse:
    """Return a problem as an HTTP response."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        **problem.more,
    }
    headers = {} if problem.retry is None else {"Retry-After": str(max(1, round(problem.retry)))}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, problem.status, headers, MEDIA)


def install(app: FastAPI) -> None:
    """Let every error of an application leave as problem details."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> JSONResponse:
        return response(error)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        answer = response(Problem(error.status_code, str(error.detail)))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        told = [{"at": ".".join(map(str, e["loc"])), "says": e["msg"]} for e in error.errors()]
        return response(Problem(422, "the request has fields that are not as expected", errors=told))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        LOG.error("unexpected", exc_info=error)
        return response(Problem(500, "an error of the service itself; its log says more"))
