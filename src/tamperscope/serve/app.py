"""The application: routes, guards, and what begins and ends with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.staticfiles import StaticFiles

import tamperscope
from tamperscope.serve import api, problems, web
from tamperscope.serve.cases import Cases
from tamperscope.serve.dispatch import Dispatcher
from tamperscope.serve.fetching import Fetcher
from tamperscope.serve.guards import Guard
from tamperscope.serve.keys import asks
from tamperscope.serve.meters import Meters
from tamperscope.serve.sessions import Sessions, secret_in
from tamperscope.serve.settings import Settings
from tamperscope.serve.store import Job, opened
from tamperscope.serve.webhooks import Webhooks

OWN = ("localhost", "127.0.0.1", "[::1]")
SWEEP_SECONDS = 30.0


def create(settings: Settings) -> FastAPI:
    """Return the service as an ASGI application; its workers begin and end with its lifespan.

    Raises:
        InputError: Its database or its place for files cannot be opened.
    """
    meters = Meters()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        jobs, files = opened(settings)
        app.state.fetcher = Fetcher(settings.body_seconds)
        webhooks = Webhooks(settings.webhook_secret)

        def tell(job: Job) -> None:
            if url := job.options.get("callback"):
                told = {k: v for k, v in api.described(job).items() if k != "report"}
                webhooks.send(url, told)

        dispatcher = app.state.dispatcher = Dispatcher(settings, jobs, files, meters, tell)
        app.state.cases = Cases(jobs)
        settings.state.mkdir(parents=True, exist_ok=True)
        app.state.sessions = Sessions(settings, secret_in(settings.state))
        await run_in_threadpool(dispatcher.restore)
        sweeping = asyncio.create_task(_sweep(dispatcher))
        try:
            yield
        finally:
            sweeping.cancel()
            await run_in_threadpool(dispatcher.close)
            webhooks.close()
            app.state.fetcher.close()

    app = FastAPI(
        title="Tamperscope",
        version=tamperscope.__version__,
        description="Tells whether a picture was altered, where, how, and on what evidence.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    app.state.settings, app.state.meters = settings, meters
    problems.install(app)
    app.include_router(api.router)
    app.include_router(web.router)
    app.mount("/static", StaticFiles(packages=[("tamperscope.serve", "static")]))
    _watched(app, meters)
    hosts = settings.hosts or ((*OWN, settings.host) if settings.loopback else ("*",))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(Guard, settings=settings, meters=meters)
    return app


def _watched(app: FastAPI, meters: Meters) -> None:
    """Add what those who run the service look at."""

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.get("/readyz", include_in_schema=False)
    def readyz(request: Request) -> PlainTextResponse:
        dispatcher: Dispatcher = request.app.state.dispatcher
        ready = dispatcher.ready()
        return PlainTextResponse("ready" if ready else "not ready", 200 if ready else 503)

    @app.get("/metrics", include_in_schema=False)
    def metrics(request: Request) -> Response:
        asks(
            request.app.state.settings,
            request.headers.get("authorization", ""),
            request.headers.get("x-api-key", ""),
        )
        meters.workers.set(len(request.app.state.dispatcher.crew.pids))
        return Response(meters.text(), media_type="text/plain; version=0.0.4")


async def _sweep(dispatcher: Dispatcher) -> None:
    while True:
        with contextlib.suppress(Exception):
            await run_in_threadpool(dispatcher.sweep)
        await asyncio.sleep(SWEEP_SECONDS)
