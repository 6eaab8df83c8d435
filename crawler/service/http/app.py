"""The API's application: authentication, authorisation, rate and size limits, routes, errors.

Every request passes `_answer`, in one order: its Host is ours, its token is known, its role is
enough, it does not come too fast, its body is small and JSON. Only then does a route see it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crawler.errors import FatalError
from crawler.service.http.access import LOCAL, RequestLimiter, Role
from crawler.service.http.app_context import AppContext
from crawler.service.http.problem import Problem
from crawler.service.http.routes import Route
from crawler.service.jobs.job import JobConflict
from crawler.service.jobs.request_body import InvalidBody
from crawler.service.monitoring.logs import REQUEST
from crawler.service.monitoring.metrics import Metrics
from crawler.service.monitoring.tracing import Tracing
from crawler.service.settings import is_loopback

log = logging.getLogger(__name__)
audit = logging.getLogger("crawler.audit")

SLOW_BODY: Final = 30.0
"""Seconds for a body to arrive: the largest, of 4 MiB, at 140 kB/s."""

LINGER: Final = 2.0
"""Seconds in which the rest of a body that is too large is read and thrown away: a connection that
is closed on bytes nobody read is reset, and the answer lost with it (RFC 9112 §9.6)."""

LINGER_BYTES: Final = 64 * 1024 * 1024
"""… and how much of it at most."""

LOOKING: Final = frozenset({"GET", "HEAD"})
"""Methods that change nothing (RFC 9110 §9.2.1)."""

SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""For every answer that says nothing else; the dashboard has a policy of its own."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class ApiMiddleware:
    """Makes Starlette endpoints of our routes."""

    def __init__(self, parts: AppContext, metrics: Metrics, tracing: Tracing) -> None:
        self._parts = parts
        self._metrics = metrics
        self._tracing = tracing
        self._meter = RequestLimiter(parts.config.rate, parts.config.burst)
        self._known = tuple(name.lower() for name in parts.config.hosts)

    def endpoint(self, route: Route) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            given = request.headers.get("x-request-id", "")
            REQUEST.set(given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8))
            with self._tracing.request(route.name, request):
                response = await self._answer(route, request)
            response.headers["x-request-id"] = REQUEST.get()
            self._metrics.requests[route.name, f"{response.status_code // 100}xx"] += 1
            return response

        return endpoint

    async def _answer(self, route: Route, request: Request) -> Response:
        try:
            self._admit(route, request)
            if route.body:
                request.state.body = await self._body(request)
            response = await route.answer(request)
            if request.method not in LOOKING:
                await self._note(route, request, response)
        except Problem as problem:
            return problem.response()
        except InvalidBody as error:
            errors = [{"pointer": error.pointer, "detail": str(error)}]
            return Problem(422, str(error), errors=errors).response()
        except JobConflict as error:
            return Problem(409, str(error)).response()
        except KeyError as error:  # deleted between two looks
            log.debug("gone: %s", error)
            return Problem(404, "no such job").response()
        except FatalError as error:
            log.warning("%s", error)
            return Problem(503, "the service's own files cannot be used now").response()
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            log.exception("%s: a bug", route.name)
            return Problem(500, "a bug; the log has more under this request's id").response()
        return response

    def _admit(self, route: Route, request: Request) -> None:
        """Raises Problem for who may not."""
        access = self._parts.access
        if access.open and not self._is_local(request):
            # A name that leads to loopback (DNS rebinding) would make any web page an admin.
            raise Problem(421, "without tokens only requests to localhost are answered")
        if route.role is None:
            request.state.token = LOCAL
            self._count(f"address {request.client.host if request.client else ''}")
            return
        token = access.who(request.headers.get("authorization", ""))
        if token is None:
            self._count(f"address {request.client.host if request.client else ''}")
            raise Problem(
                401, "a token is needed: Authorization: Bearer …",
                headers={"www-authenticate": 'Bearer realm="crawler"'},
            )  # fmt: skip
        self._count(f"token {token.name}")
        if route.role is Role.ADMIN and token.role is not Role.ADMIN:
            raise Problem(403, f"{token.name} may only read")
        origin = request.headers.get("origin")
        if (
            request.method not in LOOKING
            and origin is not None
            and not self._is_ours(origin, request)
        ):
            raise Problem(403, "this page may not ask that: another origin")
        request.state.token = token

    def _count(self, who: str) -> None:
        wait = self._meter.wait(who, time.monotonic())
        if wait:
            raise Problem(429, "too many requests", headers={"retry-after": str(int(wait) + 1)})

    def _is_local(self, request: Request) -> bool:
        host = request.headers.get("host", "")
        name = host[: host.rindex(":")] if re.search(r":\d+$", host) else host
        return is_loopback(name) or name.lower() in self._known

    def _is_ours(self, origin: str, request: Request) -> bool:
        host = request.headers.get("host", "")
        return origin in {f"http://{host}", f"https://{host}", *self._parts.config.cors}

    async def _body(self, request: Request) -> Any:
        """The body as JSON says it. Raises Problem."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Problem(415, "expected content-type: application/json")
        most = self._parts.config.max_body
        body, size = bytearray(), 0
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SLOW_BODY) as patience:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size <= most:
                        body += chunk
                    elif size - len(chunk) <= most:  # by this one it is too large
                        body.clear()
                        patience.reschedule(loop.time() + LINGER)
                    elif size > most + LINGER_BYTES:
                        break
        except TimeoutError:
            if size <= most:
                raise Problem(
                    408, "the body came too slowly", headers={"connection": "close"}
                ) from None
        if size > most:
            raise Problem(413, f"more than {most} bytes", headers={"connection": "close"})
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise Problem(400, f"not JSON: {error}") from None

    async def _note(self, route: Route, request: Request, response: Response) -> None:
        """One audit line a change: who, what, to what."""
        target = "/".join(request.path_params.values()) or response.headers.get("location", "")
        who = request.state.token.name
        audit.info("%s %s %s", who, route.name, target)
        await self._parts.register.audit(who, route.name, target, REQUEST.get())


class SecurityHeaders:
    """Adds the security headers to every answer, those of errors too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def armoured(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"], *(pair for pair in SECURITY if pair[0] not in given),
                ]  # fmt: skip
            await send(message)

        await self._app(scope, receive, armoured)


def application(
    routes: Sequence[Route], door: ApiMiddleware, pages: Sequence[Path], cors: Sequence[str]
) -> Starlette:
    """The ASGI application. `pages` are the dashboard's files."""
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    paths = [
        Path(
            path.replace("{path}", "{path:path}"),
            door.endpoint(route),
            methods=[route.method],
            include_in_schema=False,
        )
        for path, methods in by_path.items()
        for route in methods.values()
    ]
    for path in paths:
        if path.path.endswith("/events") and path.methods:
            path.methods.discard("HEAD")  # a stream has no length to tell, and no end
    middleware = [Middleware(SecurityHeaders)]
    if cors:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(cors),
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["authorization", "content-type", "last-event-id", "idempotency-key"],
                expose_headers=["x-request-id", "location"],
            )
        )

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            methods = {
                name for path in paths
                if path.path_regex.match(request.scope["path"]) for name in path.methods or ()
            }  # fmt: skip
            headers["allow"] = ", ".join(sorted(methods))
        return Problem(error.status_code, headers=headers).response()

    async def broken(request: Request, error: Exception) -> Response:  # noqa: ARG001
        log.error("a bug outside of any route", exc_info=error)
        return Problem(500).response()

    return Starlette(
        routes=[*paths, *pages],
        middleware=middleware,
        exception_handlers={HTTPException: refused, Exception: broken},
    )
