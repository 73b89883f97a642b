"""The routes of `/v1`: scan a picture, fetch what became of a job, list the detectors."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from tamperscope import registry
from tamperscope.errors import InputError, UnsupportedFormatError, WorkerLostError
from tamperscope.serve import intake
from tamperscope.serve.dispatch import Dispatcher
from tamperscope.serve.fetching import Fetcher, checked
from tamperscope.serve.keys import asks
from tamperscope.serve.problems import MEDIA, Problem
from tamperscope.serve.settings import Key
from tamperscope.serve.store import Job

router = APIRouter(prefix="/v1")
PAGE_POLICY = "sandbox allow-scripts; frame-ancestors 'self'"
"""A report runs its own script and nothing else; its own policy, inside the page, admits only that."""
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg"}
JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": "Problem details", "content": {MEDIA: {}}} for status in statuses}


def dispatcher(request: Request) -> Dispatcher:
    """Return the dispatcher of the service."""
    found: Dispatcher = request.app.state.dispatcher
    return found


def key(
    request: Request,
    authorization: Annotated[str, Header()] = "",
    x_api_key: Annotated[str, Header()] = "",
) -> Key:
    """Return who asks; 401 where that is nobody known."""
    found = asks(request.app.state.settings, authorization, x_api_key)
    request.state.key = found.name
    return found


Asking = Annotated[Key, Depends(key)]
Dispatch = Annotated[Dispatcher, Depends(dispatcher)]


@router.post("/scan", openapi_extra=BODY, responses={202: {}, **_problems(400, 401, 408, 413, 422, 429, 503)})
async def scan(
    request: Request,
    who: Asking,
    dispatch: Dispatch,
    detectors: Annotated[str, Query(description="Comma-separated names; all when empty.")] = "",
    quick: Annotated[bool, Query(description="Only the fast detectors.")] = False,
    network: Annotated[bool, Query(description="Whether the shipped network is asked.")] = True,
    page: Annotated[int, Query(ge=0, le=999_999, description="Of a PDF file, from 1.")] = 0,
    image: Annotated[int, Query(ge=0, le=999_999, description="A picture on that page, from 1.")] = 0,
    name: Annotated[str, Query(description="What a raw body is called.", max_length=1000)] = "",
    url: Annotated[str, Query(description="https address of the picture, in place of a body.", max_length=2000)] = "",
    callback: Annotated[str, Query(description="https address that is told of the end.", max_length=2000)] = "",
    accept: Annotated[str, Header()] = "",
    prefer: Annotated[str, Header(description="`respond-async` asks for 202 at once.")] = "",
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> Response:
    """Scan one picture: its bytes as the body, or as `file` of a form.

    Answers with the report as JSON, or as a page where `Accept` asks for `text/html`; with 202 and a job where it takes
    long, or `Prefer: respond-async` asks for it.
    """
    wanted = intake.options(request.query_params)
    later, page = "respond-async" in prefer, "text/html" in accept
    keep = dispatch.settings.keep_seconds > 0
    wanted |= {"artifacts": later or page or keep}
    if callback:
        wanted["callback"] = _allowed(callback, bool(dispatch.settings.webhook_secret), "webhooks")
    if url:
        _allowed(url, dispatch.settings.urls, "pictures by address")
    with dispatch.slot(who) as slot:
        upload = dispatch.spool()
        try:
            if url:
                called = await run_in_threadpool(_fetched, request, url, upload)
            else:
                called = await intake.receive(request, upload, dispatch.settings.body_seconds)
            job = await run_in_threadpool(dispatch.accept, slot, upload, called, wanted, idempotency_key)
        finally:
            upload.unlink(missing_ok=True)
    request.state.job = job.id
    if not later and await _ended(dispatch, job.id, dispatch.settings.wait_seconds):
        found = await run_in_threadpool(dispatch.jobs.find, job.id)
        if found is not None and found.ended is not None:
            try:
                return await run_in_threadpool(_answer, dispatch, found, page)
            finally:
                if not keep and idempotency_key is None:
                    await run_in_threadpool(dispatch.remove, job.id)
    return JSONResponse(described(job), 202, {"Location": f"/v1/jobs/{job.id}"})


def _allowed(url: str, on: bool, what: str) -> str:
    if not on:
        raise Problem(422, f"{what} are off in the settings of this service")
    try:
        return checked(url)
    except InputError as error:
        raise Problem(422, str(error)) from error


def _fetched(request: Request, url: str, upload: FilePath) -> str:
    fetcher: Fetcher = request.app.state.fetcher
    try:
        return fetcher.get(url, upload, request.app.state.settings.body_bytes)
    except InputError as error:
        raise Problem(422, str(error)) from error


async def _ended(dispatch: Dispatcher, job: str, seconds: float) -> bool:
    """Return whether a job has its end within so many seconds."""
    waiting = dispatch.ended(job)
    if waiting is None:
        return True
    try:
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(waiting)), seconds)
    except (TimeoutError, asyncio.TimeoutError):
        return False
    return True


def _answer(dispatch: Dispatcher, job: Job, page: bool) -> Response:
    if job.state == "failed":
        raise Problem(422, **(job.problem or {"detail": "unknown"}))
    if page:
        return file_response(dispatch, job, "report.html")
    return Response(job.result, media_type="application/json")


def described(job: Job) -> dict[str, Any]:
    """Return a job as one who asks for it sees it."""
    base = f"/v1/jobs/{job.id}"
    links = {"self": base}
    if job.state == "done" and job.options.get("artifacts"):
        links |= {"page": f"{base}/report.html", "maps": f"{base}/maps"}
    told = {
        "id": job.id, "state": job.state, "name": job.name, "sha256": job.sha256, "bytes": job.bytes,
        "created": job.created, "ended": job.ended, "expires": job.expires, "links": links,
    }  # fmt: skip
    if job.state == "done":
        told["report"] = json.loads(job.result or "null")
    if job.state == "failed":
        told["problem"] = job.problem
    return told


def _found(dispatch: Dispatcher, who: Key, job: str) -> Job:
    found = dispatch.jobs.find(job, who.name)
    if found is None:
        raise Problem(404, "no such job, or its time is over")
    return found


def file_response(dispatch: Dispatcher, job: Job, name: str) -> Response:
    """Return a file that a job made; 404 where there is none."""
    data = dispatch.files.read(job.id, name)
    if data is None:
        why = {"done": "there is none of that name", "failed": "the scan failed"}.get(job.state, "the scan is not done")
        raise Problem(404, f"{why}; pages and maps are made where `Accept: text/html` or `Prefer: respond-async` asks")
    if name.endswith(".html"):
        return Response(data, media_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY})
    return Response(data, media_type=MEDIA_TYPES[name.rpartition(".")[2]])


def paper(dispatch: Dispatcher, job: Job) -> Response:
    """Return the report of a job as PDF; 404 where there are no pictures of it, 501 where nothing can print."""
    file_response(dispatch, job, "report.html")
    try:
        return Response(dispatch.printed(job), media_type="application/pdf")
    except UnsupportedFormatError as error:
        raise Problem(501, str(error)) from error
    except WorkerLostError as error:
        raise Problem(503, str(error), retry=5) from error


@router.get("/jobs/{job}", responses=_problems(401, 404))
def state_of(who: Asking, dispatch: Dispatch, job: JobId) -> JSONResponse:
    """Return where a job stands; once it is done, its report too."""
    return JSONResponse(described(_found(dispatch, who, job)))


@router.get("/jobs/{job}/report.html", responses=_problems(401, 404))
def page_of(who: Asking, dispatch: Dispatch, job: JobId) -> Response:
    """Return the report of a job as a page."""
    return file_response(dispatch, _found(dispatch, who, job), "report.html")


@router.get("/jobs/{job}/report.pdf", responses=_problems(401, 404))
def paper_of(who: Asking, dispatch: Dispatch, job: JobId) -> Response:
    """Return the report of a job as PDF, where the service can print."""
    return paper(dispatch, _found(dispatch, who, job))


@router.get("/jobs/{job}/maps", responses=_problems(401, 404))
def maps_of(who: Asking, dispatch: Dispatch, job: JobId) -> list[str]:
    """List the maps of a job."""
    found = _found(dispatch, who, job)
    return [name.removeprefix("maps/") for name in dispatch.files.names(found.id) if name.startswith("maps/")]


@router.get("/jobs/{job}/maps/{name}", responses=_problems(401, 404))
def map_of(
    who: Asking, dispatch: Dispatch, job: JobId, name: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]+\.(png|jpg)$")]
) -> Response:
    """Return one map of a job: grey, of the picture's own size, upright."""
    return file_response(dispatch, _found(dispatch, who, job), f"maps/{name}")


@router.delete("/jobs/{job}", status_code=204, responses=_problems(401, 404))
def remove(who: Asking, dispatch: Dispatch, job: JobId) -> None:
    """Forget a job and all that belongs to it."""
    dispatch.remove(_found(dispatch, who, job).id)


@router.get("/detectors", responses=_problems(401))
def detectors(who: Asking) -> list[dict[str, str]]:
    """List the detectors that a scan can ask."""
    return [{"name": e.name, "summary": e.summary, "source": e.source} for e in registry.entries()]
