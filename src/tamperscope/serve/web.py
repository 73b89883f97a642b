"""The page for people: drop pictures, watch them being scanned, read reports, take notes, export a case."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from jinja2 import PackageLoader
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from tamperscope.errors import UnsupportedFormatError, WorkerLostError
from tamperscope.report import html
from tamperscope.report.pack import Pack, fingerprint, load_key, new_key, public_bytes
from tamperscope.serve import api, documents, words
from tamperscope.serve.cases import MARKS, Case, Cases
from tamperscope.serve.dispatch import PAPER, Dispatcher, Slot
from tamperscope.serve.documents import Piece
from tamperscope.serve.intake import save
from tamperscope.serve.problems import Problem
from tamperscope.serve.sessions import Sessions, needed
from tamperscope.serve.settings import Key, Settings
from tamperscope.serve.store import Job

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FILES = 200
WAIT = 600.0
"""Seconds that the rest of what was sent waits for a place, at most."""
CaseId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


def who(request: Request) -> Key:
    """Return who looks; 401 where nobody has signed in, which the page turns into the form to do so."""
    sessions: Sessions = request.app.state.sessions
    found = needed(sessions.who(request))
    request.state.key = found.name
    return found


Looking = Annotated[Key, Depends(who)]
Dispatch = Annotated[Dispatcher, Depends(api.dispatcher)]


def cases_of(request: Request) -> Cases:
    """Return the tables of cases."""
    found: Cases = request.app.state.cases
    return found


CaseTable = Annotated[Cases, Depends(cases_of)]


def signer_of(settings: Settings) -> FilePath:
    """Return the file of the key that signs packs, made where it is missing."""
    path = FilePath(settings.signer) if settings.signer else settings.state / "signer.pem"
    if not path.exists():
        new_key(path)
    return path


def page(request: Request, name: str, status: int = 200, **told: Any) -> HTMLResponse:
    """Return a template, in the language of who looks."""
    asked = request.query_params.get("lang") or request.cookies.get("lang", "")
    language = words.choose(asked, request.headers.get("accept-language", ""))
    environment = html.environment().overlay(loader=PackageLoader("tamperscope.serve"), cache_size=50)
    told |= {"say": words.catalogues()[language], "lang": language, "languages": words.catalogues()}
    answer = HTMLResponse(environment.get_template(name).render(told), status)
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["Cache-Control"] = "no-store"
    if request.query_params.get("lang"):
        answer.set_cookie("lang", language, 365 * 86400, httponly=True, samesite="strict")
    return answer


@router.get("/sign-in")
def sign_in(request: Request) -> Response:
    """Ask for a key."""
    return page(request, "sign_in.html.j2", wrong=False)


@router.post("/sign-in")
def signed_in(request: Request, key: Annotated[str, Form(max_length=500)] = "") -> Response:
    """Let one in who knows a key."""
    answer = RedirectResponse("/", 303)
    try:
        request.app.state.sessions.begin(request, answer, key)
    except Problem:
        return page(request, "sign_in.html.j2", 401, wrong=True)
    return answer


@router.get("/")
def home(request: Request, looking: Looking, cases: CaseTable) -> Response:
    """Show where to drop pictures, and the cases."""
    return page(request, "home.html.j2", cases=cases.of(looking.name))


@router.post("/cases")
async def begin(request: Request, looking: Looking, dispatch: Dispatch, cases: CaseTable) -> Response:
    """Begin a case with the pictures of a form."""
    with dispatch.slot(looking) as slot:
        async with _form(request) as (form, files):
            title = str(form.get("title") or (files[0].filename if files else "")) or "–"
            case = await run_in_threadpool(cases.create, looking.name, title)
            try:
                return await _taken(request, looking, dispatch, cases, case, files, slot)
            except Problem:
                # Nothing was taken: there is nothing to keep either.
                await run_in_threadpool(cases.remove, case.id)
                raise


@router.post("/cases/{case}/pictures")
async def more(request: Request, looking: Looking, dispatch: Dispatch, cases: CaseTable, case: CaseId) -> Response:
    """Add the pictures of a form to a case."""
    found = await run_in_threadpool(_case, cases, looking, case)
    with dispatch.slot(looking) as slot:
        async with _form(request) as (_, files):
            return await _taken(request, looking, dispatch, cases, found, files, slot)


@contextlib.asynccontextmanager
async def _form(request: Request) -> AsyncIterator[tuple[FormData, list[UploadFile]]]:
    """Read a form, whose reader has a place already, and give its files."""
    async with request.form(max_files=FILES, max_fields=8) as form:
        yield form, [found for found in form.getlist("file") if isinstance(found, UploadFile) and found.filename]


async def _taken(
    request: Request, looking: Key, dispatch: Dispatcher, cases: Cases, case: Case, files: list[UploadFile], slot: Slot
) -> Response:
    """Give all files to the workers, the first in the place that is there, and answer with what could not be taken."""
    problems: list[Problem] = []
    taken = 0
    for file in files:
        upload, pieces, got = dispatch.spool(), [Piece("")], 0
        try:
            await run_in_threadpool(save, file, upload)
            pieces = await run_in_threadpool(documents.pieces, upload, file.filename or "", dispatch.limits)
            for piece in pieces:
                with contextlib.ExitStack() as places:
                    place = await _place(places, looking, dispatch) if slot.handed else slot
                    job = await run_in_threadpool(_accepted, dispatch, place, case, upload, piece)
                await run_in_threadpool(cases.add, case.id, job.id)
                got += 1
        except Problem as problem:
            problem.detail = _partly(file.filename or "", got, len(pieces), problem.detail)
            problems.append(problem)
        finally:
            upload.unlink(missing_ok=True)
        taken += got
    if not taken:
        raise problems[0] if problems else Problem(400, "expected one file or more in `file` of the form")
    if "application/json" in request.headers.get("accept", ""):
        told = {"case": case.id, "page": f"/cases/{case.id}", "problems": [problem.detail for problem in problems]}
        return JSONResponse(told)
    return RedirectResponse(f"/cases/{case.id}" + (f"?missing={len(problems)}" if problems else ""), 303)


def _partly(name: str, got: int, wanted: int, why: str) -> str:
    """Return why a file was not taken, or not all of it."""
    return f"'{name[:100]}': {got} of {wanted} pages and pictures were taken: {why}" if got else why


async def _place(places: contextlib.ExitStack, looking: Key, dispatch: Dispatcher) -> Slot:
    """Wait for a further place: who has some of what they sent already waits for the rest."""
    end = time.monotonic() + WAIT
    while True:
        try:
            return places.enter_context(dispatch.slot(looking))
        except Problem as problem:
            if problem.retry is None or time.monotonic() + problem.retry > end:
                raise
            await anyio.sleep(problem.retry)


def _accepted(dispatch: Dispatcher, slot: Slot, case: Case, upload: FilePath, piece: Piece) -> Job:
    """Give a piece of an upload to the workers."""
    copy = dispatch.spool()
    try:
        copy.hardlink_to(upload)
        return dispatch.accept(slot, copy, piece.name, {"artifacts": True, "case": case.id, **piece.options})
    finally:
        copy.unlink(missing_ok=True)


def _case(cases: Cases, looking: Key, case: str) -> Case:
    found = cases.find(case, looking.name)
    if found is None:
        raise Problem(404, "no such case")
    return found


def _picture(dispatch: Dispatcher, looking: Key, job: str) -> Job:
    found = dispatch.jobs.find(job, looking.name)
    if found is None:
        raise Problem(404, "no such picture")
    return found


def _told(cases: Cases, case: str) -> dict[str, Any]:
    """Return what the table of a case shows: its pictures, what most needs a look first."""
    jobs = cases.pictures(case)
    marks = cases.marks([job.id for job in jobs])
    rows = []
    for job in jobs:
        verdict = json.loads(job.result)["verdict"] if job.result else None
        llr = None if verdict is None else verdict["llr"]
        rank = {"done": 0, "failed": 1}.get(job.state, 2)
        row = {"job": job, "verdict": verdict, "marks": marks[job.id], "problem": job.problem}
        rows.append(((rank, -(llr if llr is not None else -1e9), job.created), row))
    done = sum(job.ended is not None for job in jobs)
    return {"rows": [row for _, row in sorted(rows, key=lambda r: r[0])], "done": done, "total": len(jobs)}


@router.get("/cases/{case}")
def case_page(
    request: Request,
    looking: Looking,
    cases: CaseTable,
    case: CaseId,
    missing: Annotated[int, Query(ge=0, le=FILES)] = 0,
) -> Response:
    """Show a case, and of how many files not all was taken."""
    found = _case(cases, looking, case)
    mark = fingerprint(public_bytes(load_key(signer_of(request.app.state.settings))))
    return page(request, "case.html.j2", case=found, mark=mark, missing=missing, **_told(cases, found.id))


@router.get("/cases/{case}/rows")
def case_rows(request: Request, looking: Looking, cases: CaseTable, case: CaseId) -> Response:
    """Show the table of a case alone, for the page that waits for its scans."""
    found = _case(cases, looking, case)
    return page(request, "rows.html.j2", case=found, **_told(cases, found.id))


@router.post("/cases/{case}/title")
def rename(looking: Looking, cases: CaseTable, case: CaseId, title: Annotated[str, Form(max_length=200)]) -> Response:
    """Give a case another title."""
    cases.rename(_case(cases, looking, case).id, title.strip() or "–")
    return RedirectResponse(f"/cases/{case}", 303)


@router.post("/cases/{case}/delete")
def delete(looking: Looking, dispatch: Dispatch, cases: CaseTable, case: CaseId) -> Response:
    """Delete a case with everything in it."""
    for job in cases.pictures(_case(cases, looking, case).id):
        dispatch.remove(job.id)
    cases.remove(case)
    return RedirectResponse("/", 303)


@router.post("/cases/{case}/export")
def export(request: Request, looking: Looking, dispatch: Dispatch, cases: CaseTable, case: CaseId) -> Response:
    """Return a case as a signed evidence pack."""
    found = _case(cases, looking, case)
    key = load_key(signer_of(request.app.state.settings))
    with tempfile.NamedTemporaryFile(prefix="tamperscope-pack-", suffix=".zip", delete=False) as file:
        path = FilePath(file.name)
    jobs = [job for job in cases.pictures(found.id) if job.ended is not None]
    marks = cases.marks([job.id for job in jobs])
    with Pack(path, found.title, key) as pack:
        for job in jobs:
            notes = [{"mark": m.kind, "text": m.text, "at": m.created} for m in marks[job.id]]
            told = {"name": job.name, "sha256": job.sha256, "bytes": job.bytes, "notes": notes}
            if job.result is not None:
                verdict = json.loads(job.result)["verdict"]
                told |= {"level": verdict["level"], "headline": verdict["headline"]}
            names = [
                n for n in dispatch.files.names(job.id) if n == "report.html" or n.startswith(("maps/", "trailing"))
            ]
            if "report.html" in names:
                with contextlib.suppress(UnsupportedFormatError, WorkerLostError):
                    dispatch.printed(job)
                    names.append(PAPER)
            files = {name: dispatch.files.read(job.id, name) or b"" for name in names}
            pack.add(told | {"problem": job.problem}, files | {"report.json": (job.result or "null").encode()})
    return FileResponse(path, filename=f"case-{case[:8]}.zip", background=BackgroundTask(path.unlink))


@router.get("/pictures/{job}")
def picture_page(request: Request, looking: Looking, dispatch: Dispatch, cases: CaseTable, job: CaseId) -> Response:
    """Show the report on a picture, with notes, the bytes behind its end, and the way to its neighbours."""
    found = _picture(dispatch, looking, job)
    case = cases.case_of(job)
    ordered = [row["job"].id for row in _told(cases, case)["rows"]] if case else [job]
    at = ordered.index(job)
    report = json.loads(found.result) if found.result else None
    return page(
        request,
        "picture.html.j2",
        job=found,
        case=case,
        report=report,
        marks=cases.marks([job])[job],
        kinds=MARKS,
        tails=_tails(dispatch, found, report),
        before=ordered[at - 1] if at > 0 else None,
        after=ordered[at + 1] if at + 1 < len(ordered) else None,
    )


def _tails(dispatch: Dispatcher, job: Job, report: dict[str, Any] | None) -> list[dict[str, Any]]:
    blocks = [f["values"] for f in (report or {}).get("findings", []) if f["code"].endswith("trailing_bytes")]
    found = ((block, dispatch.files.read(job.id, f"trailing-{n}.bin")) for n, block in enumerate(blocks))
    return [
        {"values": block, "shown": len(data), "lines": hexdump(data, block["offset"])} for block, data in found if data
    ]


def hexdump(data: bytes, offset: int) -> list[str]:
    """Return bytes as lines of sixteen: offset, hexadecimal, and what is plain ASCII."""
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        plain = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{offset + at:08x}  {row.hex(' '):47}  {plain}")
    return lines


@router.post("/pictures/{job}/marks")
def mark(
    looking: Looking,
    dispatch: Dispatch,
    cases: CaseTable,
    job: CaseId,
    kind: Annotated[str, Form()],
    text: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Note something on a picture."""
    if kind not in MARKS:
        raise Problem(422, f"expected one of {', '.join(MARKS)}")
    cases.mark(_picture(dispatch, looking, job).id, kind, text)
    return RedirectResponse(f"/pictures/{job}#notes", 303)


@router.post("/pictures/{job}/marks/{number}/delete")
def unmark(looking: Looking, dispatch: Dispatch, cases: CaseTable, job: CaseId, number: int) -> Response:
    """Take a note back."""
    cases.unmark(_picture(dispatch, looking, job).id, number)
    return RedirectResponse(f"/pictures/{job}#notes", 303)


@router.post("/pictures/{job}/delete")
def delete_picture(looking: Looking, dispatch: Dispatch, cases: CaseTable, job: CaseId) -> Response:
    """Delete a picture and all that was made of it."""
    case = cases.case_of(_picture(dispatch, looking, job).id)
    dispatch.remove(job)
    return RedirectResponse(f"/cases/{case}" if case else "/", 303)


@router.get("/pictures/{job}/{name}")
def file_of(
    looking: Looking,
    dispatch: Dispatch,
    job: CaseId,
    name: Annotated[str, Path(pattern=r"^(report\.html|report\.pdf|report\.json|preview\.jpg)$")],
) -> Response:
    """Return a file of a picture for its page."""
    found = _picture(dispatch, looking, job)
    if name == PAPER:
        return api.paper(dispatch, found)
    if name == "report.json":
        return Response(found.result or "null", media_type="application/json")
    return api.file_response(dispatch, found, name)
