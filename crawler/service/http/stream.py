"""Server-sent events: changes of state, each with an id to come back with, and live figures.

Nothing is queued for anybody: when a client can take more, it is told what is so at that moment.
A slow client therefore costs one coroutine and sees fewer figures, but no change of state less.
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
from crawler.service.http.problem import Problem
from crawler.service.http.routes import JOB, Param, Route
from crawler.service.http.views import job_view

log = logging.getLogger(__name__)

EVERY: Final = 1.0
"""Seconds between live figures; also the heartbeat by which proxies see that we live."""

LAST: Final = Param(
    "Last-Event-ID", "Go on after this event, as browsers do when they come back",
    {"type": "string", "pattern": "^[0-9]{1,18}$"}, "header",
)  # fmt: skip

WORDS: Final = (
    "`event: state` (with an id; data: Event) for each change of state, `event: live` (data: "
    "JobView) each second while a job runs"
)


class StreamApi:
    """`routes()` is what the server answers."""

    def __init__(self, parts: AppContext) -> None:
        self._parts = parts
        self.open = 0

    def routes(self) -> list[Route]:
        gives = {200: ("", "text/event-stream", WORDS)}
        return [
            Route("GET", "/events", "streamEvents", "What happens, all jobs", self.all,
                  params=(LAST,), gives=gives, fails=(422, 503)),
            Route("GET", "/jobs/{id}/events", "streamJobEvents", "What happens, one job", self.one,
                  params=(JOB, LAST), gives=gives, fails=(404, 422, 503)),
        ]  # fmt: skip

    async def all(self, request: Request) -> Response:
        return self._stream(request, None)

    async def one(self, request: Request) -> Response:
        return self._stream(request, (await self._parts.job(request)).id)

    def _stream(self, request: Request, job: str | None) -> Response:
        last = request.headers.get("last-event-id")
        if last is not None and not (last.isascii() and last.isdigit() and len(last) < 19):
            raise Problem(422, "Last-Event-ID: not one of ours")
        if self.open >= self._parts.config.streams:
            raise Problem(503, "too many event streams are open", headers={"retry-after": "10"})
        after = self._parts.register.newest if last is None else int(last)
        return StreamingResponse(
            self._events(after, job),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _events(self, after: int, job: str | None) -> AsyncIterator[bytes]:
        register, foreman = self._parts.register, self._parts.foreman
        self.open += 1
        try:
            yield b"retry: 2000\n\n"
            while True:
                bell = register.bell
                while events := await register.events(after, job):
                    for event in events:
                        after = event.id
                        data = msgspec.json.encode(event)
                        yield b"id: %d\nevent: state\ndata: %s\n\n" % (event.id, data)
                quiet = True
                for shift in list(foreman.shifts.values()):
                    if job is None or shift.job.id == job:
                        data = msgspec.json.encode(job_view(shift.job, shift, whole=True))
                        yield b"event: live\ndata: %s\n\n" % data
                        quiet = False
                if quiet:
                    yield b": nothing new\n\n"
                if foreman.draining:
                    return
                try:
                    async with asyncio.timeout(EVERY):
                        await bell.wait()
                except TimeoutError:
                    pass
        except FrontierError as error:  # the client comes back, and goes on after its last event
            log.warning("an event stream ends: %s", error)
        finally:
            self.open -= 1
