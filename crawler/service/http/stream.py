"""Server-sent events: state changes, each with an id to resume from, and live figures.

Nothing is queued per client: when a client is ready, it gets the state of that moment. A slow
client costs one coroutine, and misses live figures but no state change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from crawler.errors import FrontierError
from crawler.service.http.app_context import AppContext
from crawler.service.http.routes import JOB_ID, Param, Problem, Route
from crawler.service.http.views import job_view

log = logging.getLogger(__name__)

LIVE_INTERVAL_S: Final = 1.0
"""Seconds between live figures; they also keep idle connections open through proxies."""

LAST_EVENT_PARAM: Final = Param(
    "Last-Event-ID", "Resume after this event, as browsers do when they reconnect",
    {"type": "string", "pattern": "^[0-9]{1,18}$"}, "header",
)  # fmt: skip

STREAM_DESCRIPTION: Final = (
    "`event: state` (with an id; data: Event) for each change of state, `event: live` (data: "
    "JobView) each second while a job runs"
)


class StreamApi:
    """Routes of event streams. `open`: streams that are open now."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self.open = 0

    def routes(self) -> list[Route]:
        responses = {200: ("", "text/event-stream", STREAM_DESCRIPTION)}
        return [
            Route("GET", "/events", "streamEvents", "Events of all jobs", self.all,
                  params=(LAST_EVENT_PARAM,), responses=responses, error_statuses=(422, 503)),
            Route("GET", "/jobs/{id}/events", "streamJobEvents", "Events of one job", self.one,
                  params=(JOB_ID, LAST_EVENT_PARAM), responses=responses,
                  error_statuses=(404, 422, 503)),
        ]  # fmt: skip

    async def all(self, request: Request) -> Response:
        return self._response(request, None)

    async def one(self, request: Request) -> Response:
        return self._response(request, (await self._context.job(request)).id)

    def _response(self, request: Request, job: str | None) -> Response:
        last = request.headers.get("last-event-id")
        if last is not None and not (last.isascii() and last.isdigit() and len(last) < 19):
            raise Problem(422, "Last-Event-ID: not an event id")
        if self.open >= self._context.config.streams:
            raise Problem(503, "too many event streams are open", headers={"retry-after": "10"})
        after = self._context.store.events.last_id if last is None else int(last)
        return StreamingResponse(
            self._events(after, job),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _events(self, after: int, job: str | None) -> AsyncIterator[bytes]:
        store, supervisor = self._context.store, self._context.supervisor
        self.open += 1
        try:
            yield b"retry: 2000\n\n"
            while True:
                changed = store.changed
                while events := await store.events.after(after, job):
                    for event in events:
                        after = event.id
                        data = msgspec.json.encode(event)
                        yield b"id: %d\nevent: state\ndata: %s\n\n" % (event.id, data)
                idle = True
                for run in list(supervisor.active_runs.values()):
                    if job is None or run.job.id == job:
                        data = msgspec.json.encode(job_view(run.job, run, detailed=True))
                        yield b"event: live\ndata: %s\n\n" % data
                        idle = False
                if idle:
                    yield b": nothing new\n\n"
                if supervisor.draining:
                    return
                try:
                    async with asyncio.timeout(LIVE_INTERVAL_S):
                        await changed.wait()
                except TimeoutError:
                    pass
        except FrontierError as error:  # the client reconnects, and resumes after its last event
            log.warning("an event stream ends: %s", error)
        finally:
            self.open -= 1
