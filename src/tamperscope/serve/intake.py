"""The body of a request as a file: raw bytes, or one file of a form."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from fastapi import Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from tamperscope import registry
from tamperscope.serve.problems import Problem
from tamperscope.serve.scans import Options

FORM = "multipart/form-data"


async def receive(request: Request, path: Path, seconds: float) -> str:
    """Write the picture of a request to a path and return the name that it came with.

    Raises:
        Problem: 400 for a form without one file, or an empty body; 408 where it does not arrive in time.
    """
    try:
        with anyio.fail_after(seconds):
            if request.headers.get("content-type", "").startswith(FORM):
                name = await _of_form(request, path)
            else:
                name = request.query_params.get("name", "")
                async with await anyio.open_file(path, "wb") as file:
                    async for chunk in request.stream():
                        await file.write(chunk)
    except TimeoutError as late:
        raise Problem(408, f"expected the whole body within {seconds:g} s") from late
    if path.stat().st_size == 0:
        raise Problem(400, "expected the bytes of a picture, found nothing")
    return name


async def _of_form(request: Request, path: Path) -> str:
    try:
        async with request.form(max_files=1, max_fields=8, max_part_size=64 * 1024) as form:
            found = form.get("file")
            if not isinstance(found, UploadFile):
                raise Problem(400, "expected one file in the field `file` of the form")
            await run_in_threadpool(save, found, path)
            return found.filename or ""
    except HTTPException as error:
        raise Problem(400, f"expected a form with one file in `file`: {error.detail}") from error


def save(upload: UploadFile, path: Path) -> None:
    """Write a file of a form to a path."""
    with path.open("wb") as target:
        shutil.copyfileobj(upload.file, target, 1 << 20)


def options(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of `Options` that a query string states.

    Raises:
        Problem: 422, a value or the name of a detector is not known.
    """
    fields: dict[str, Any] = {k: query[k] for k in ("quick", "network", "page", "image") if k in query}
    if names := query.get("detectors"):
        fields["detectors"] = [name.strip() for name in names.split(",") if name.strip()]
    try:
        found = Options.model_validate(fields)
    except ValidationError as error:
        told = [{"at": ".".join(map(str, e["loc"])), "says": e["msg"]} for e in json.loads(error.json())]
        raise Problem(422, "the query has fields that are not as expected", errors=told) from error
    for name in found.detectors:
        if name not in registry.names():
            raise Problem(422, f"unknown detector '{name[:100]}'", known=registry.names())
    return found.model_dump(mode="json")
