"""The API's ASGI application: authentication, authorisation, rate and size limits, routes, errors.

`_handle` checks every request in a fixed order: Host header, token, rate limit, role, origin, size
and syntax of the body. Only then it calls the route's handler.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crawler.errors import FatalError
from crawler.service.http.access import LOCAL, RequestLimiter, Role
from crawler.service.http.app_context import AppContext
from crawler.service.http.routes import Problem, Route, read_json
from crawler.service.jobs.job import JobConflict
from crawler.service.jobs.request_body import InvalidBody
from crawler.service.monitoring.logs import REQUEST
from crawler.service.monitoring.metrics import Metrics
from crawler.service.monitoring.tracing import Tracing
from crawler.service.settings import is_loopback

log = logging.getLogger(__name__)
audit = logging.getLogger("crawler.audit")

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
"""Methods that change nothing (RFC 9110 §9.2.1)."""

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Headers of every response that does not set them; the dashboard has a policy of its own."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class ApiMiddleware:
    """Makes Starlette endpoints of routes, with all checks around them."""

    def __init__(self, context: AppContext, metrics: Metrics, tracing: Tracing) -> None:
        self._context = context
        self._metrics = metrics
        self._tracing = tracing
        self._rate_limiter = RequestLimiter(context.config.rate, context.config.burst)
        self._allowed_hosts = tuple(name.lower() for name in context.config.hosts)

    def endpoint(self, route: Route) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            sent_id = request.headers.get("x-request-id", "")
            REQUEST.set(sent_id if _REQUEST_ID.fullmatch(sent_id) else secrets.token_hex(8))
            with self._tracing.request(route.name, request):
                response = await self._handle(route, request)
            response.headers["x-request-id"] = REQUEST.get()
            self._metrics.requests[route.name, f"{response.status_code // 100}xx"] += 1
            return response

        return endpoint

    async def _handle(self, route: Route, request: Request) -> Response:
        try:
            self._authorize(route, request)
            if route.body:
                request.state.body = await read_json(request, self._context.config.max_body)
            response = await route.handler(request)
            if request.method not in SAFE_METHODS:
                await self._write_audit(route, request, response)
        except Problem as problem:
            return problem.response()
        except InvalidBody as error:
            errors = [{"pointer": error.pointer, "detail": str(error)}]
            return Problem(422, str(error), errors=errors).response()
        except JobConflict as error:
            return Problem(409, str(error)).response()
        except KeyError as error:  # deleted since the handler read it
            log.debug("no longer there: %s", error)
            return Problem(404, "no such job").response()
        except FatalError as error:
            log.warning("%s", error)
            return Problem(503, "the service's own files cannot be used now").response()
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            log.exception("%s: unexpected error (a bug)", route.name)
            return Problem(
                500, "unexpected error (a bug); see the log, by this request's id"
            ).response()
        return response

    def _authorize(self, route: Route, request: Request) -> None:
        """Set `request.state.token`. Raises Problem when the request is not allowed."""
        access = self._context.access
        if access.is_open and not self._is_local(request):
            # With a name that resolves to loopback (DNS rebinding) any web page would be an admin.
            raise Problem(421, "without tokens only requests to localhost are answered")
        if route.role is None:
            request.state.token = LOCAL
            self._limit_rate(f"address {request.client.host if request.client else ''}")
            return
        token = access.authenticate(request.headers.get("authorization", ""))
        if token is None:
            self._limit_rate(f"address {request.client.host if request.client else ''}")
            raise Problem(
                401, "a token is needed: Authorization: Bearer …",
                headers={"www-authenticate": 'Bearer realm="crawler"'},
            )  # fmt: skip
        self._limit_rate(f"token {token.name}")
        if route.role is Role.ADMIN and token.role is not Role.ADMIN:
            raise Problem(403, f"{token.name} may only read")
        origin = request.headers.get("origin")
        if (
            request.method not in SAFE_METHODS
            and origin is not None
            and not self._is_same_origin(origin, request)
        ):
            raise Problem(403, "requests from another origin may not change anything")
        request.state.token = token

    def _limit_rate(self, caller: str) -> None:
        delay = self._rate_limiter.retry_after(caller, time.monotonic())
        if delay:
            raise Problem(429, "too many requests", headers={"retry-after": str(int(delay) + 1)})

    def _is_local(self, request: Request) -> bool:
        host = request.headers.get("host", "")
        name = host[: host.rindex(":")] if re.search(r":\d+$", host) else host
        return is_loopback(name) or name.lower() in self._allowed_hosts

    def _is_same_origin(self, origin: str, request: Request) -> bool:
        host = request.headers.get("host", "")
        return origin in {f"http://{host}", f"https://{host}", *self._context.config.cors}

    async def _write_audit(self, route: Route, request: Request, response: Response) -> None:
        """Log a change in the log and in the audit table: token, operation, target."""
        target = "/".join(request.path_params.values()) or response.headers.get("location", "")
        who = request.state.token.name
        audit.info("%s %s %s", who, route.name, target)
        await self._context.store.audit.insert(who, route.name, target, REQUEST.get())


class SecurityHeaders:
    """Adds SECURITY_HEADERS to every response, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in SECURITY_HEADERS if pair[0] not in present),
                ]  # fmt: skip
            await send(message)

        await self._app(scope, receive, send_with_headers)


def application(
    routes: Sequence[Route],
    api: ApiMiddleware,
    pages: Sequence[StarletteRoute],
    cors: Sequence[str],
) -> Starlette:
    """The ASGI application. `pages`: the dashboard's routes; `cors`: allowed origins."""
    api_routes = _starlette_routes(routes, api)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            methods = {
                name for route in api_routes
                if route.path_regex.match(request.scope["path"]) for name in route.methods or ()
            }  # fmt: skip
            headers["allow"] = ", ".join(sorted(methods))
        return Problem(error.status_code, headers=headers).response()

    async def unexpected_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
        log.error("unexpected error outside of any route (a bug)", exc_info=error)
        return Problem(500).response()

    return Starlette(
        routes=[*api_routes, *pages],
        middleware=_middleware(cors),
        exception_handlers={HTTPException: http_error, Exception: unexpected_error},
    )


def _starlette_routes(routes: Sequence[Route], api: ApiMiddleware) -> list[StarletteRoute]:
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    starlette_routes = [
        StarletteRoute(
            path.replace("{path}", "{path:path}"),
            api.endpoint(route),
            methods=[route.method],
            include_in_schema=False,
        )
        for path, methods in by_path.items()
        for route in methods.values()
    ]
    for starlette_route in starlette_routes:
        if starlette_route.path.endswith("/events") and starlette_route.methods:
            starlette_route.methods.discard("HEAD")  # a stream has no length and no end
    return starlette_routes


def _middleware(cors: Sequence[str]) -> list[Middleware]:
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
    return middleware
