"""What all routes share: their type, parameters, JSON body, and errors.

The table of routes defines the server and `/openapi.json`.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crawler.service.http.access import Role
from crawler.service.monitoring.logs import REQUEST

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"


class Problem(Exception):
    """Raised in a handler; becomes the response. `errors` are listed in its body."""

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        errors: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The response; `instance` has the request's id."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": http.HTTPStatus(self.status).phrase,
            "status": self.status,
        }
        if self.detail:
            body["detail"] = self.detail
        if self.errors:
            body["errors"] = self.errors
        if REQUEST.get():
            body["instance"] = f"urn:request:{REQUEST.get()}"
        return Response(msgspec.json.encode(body), self.status, self.headers, PROBLEM_MEDIA_TYPE)


def not_found(what: str) -> Problem:
    """The 404 problem of a missing resource, such as "job"."""
    return Problem(404, f"no such {what}")


Row = TypeVar("Row")

Page: TypeAlias = tuple[tuple[Row, ...], str | None]
"""Rows, and the cursor of the next page; None: there are no more."""

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

PAGE_ROWS_MAX: Final = 1000
"""Most rows on one page of a list."""


class Param(msgspec.Struct, frozen=True):
    """A request parameter. `location`: path, query or header."""

    name: str
    help: str
    schema: Mapping[str, Any]
    location: str = "query"
    example: Any = None


class Route(msgspec.Struct, frozen=True):
    """One operation. `name`: its OpenAPI operationId; `role` None: no token is needed.

    `body` is the name of a schema, "" for no body. `responses` maps a status to (schema name or ""
    for no JSON, media type, description); `error_statuses` are those of problem details.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    role: Role | None = Role.READ
    params: tuple[Param, ...] = ()
    body: str = ""
    responses: Mapping[int, tuple[str, str, str]] = {}
    error_statuses: tuple[int, ...] = ()


JSON: Final = "application/json"

CURSOR: Final = Param(
    "cursor",
    "Continue a list: `next` of the previous page",
    {"type": "string", "pattern": "^[0-9]{1,18}$"},
)
LIMIT: Final = Param(
    "limit", "Most rows on the page",
    {"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX, "default": 100},
    example=100,
)  # fmt: skip
JOB_ID: Final = Param(
    "id", "A job's id", {"type": "string", "pattern": "^[0-9a-f]{12}$"}, "path", "0123456789ab"
)


def json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response of any value that msgspec can encode."""
    return Response(msgspec.json.encode(value), status, dict(headers or {}), JSON)


def int_param(
    request: Request, name: str, default: int, least: int = 1, most: int = PAGE_ROWS_MAX
) -> int:
    """An integer query parameter. Raises Problem 422."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
        raise _invalid(name, f"expected a whole number from {least} to {most}")
    return int(text)


def cursor(request: Request) -> int | None:
    """The cursor: a number, which clients treat as opaque. None: from the start."""
    if "cursor" not in request.query_params:
        return None
    return int_param(request, "cursor", 0, 0, 2**62)


class Paging(msgspec.Struct, frozen=True):
    """The requested rows of a list: at most `limit` after the cursor `after`, None: from the start.

    Handlers read one row more, `read_limit`, so that `page` knows whether more follow.
    """

    after: int | None
    limit: int

    @property
    def read_limit(self) -> int:
        """Rows to read: one more than are shown."""
        return self.limit + 1

    def page(self, rows: Sequence[Row], cursor_of: Callable[[Row], object]) -> Page[Row]:
        """The rows of the page, and the cursor of the next page; None: there are no more."""
        shown = tuple(rows[: self.limit])
        return shown, str(cursor_of(shown[-1])) if len(rows) > self.limit else None


def paging(request: Request) -> Paging:
    """The parameters CURSOR and LIMIT of a request. Raises Problem 422."""
    limit = int_param(request, "limit", 100)
    return Paging(cursor(request), limit)


def choices_of(request: Request, name: str, known: tuple[str, ...]) -> list[str]:
    """A query parameter with a comma-separated list of known words. Raises Problem 422."""
    if name not in request.query_params:
        return []
    words = request.query_params[name].split(",")
    for word in words:
        if word not in known:
            raise _invalid(name, f"{word[:40]!r} is none of {', '.join(known)}")
    return words


def choices_schema(known: tuple[str, ...]) -> dict[str, Any]:
    """The JSON schema of a `choices_of` parameter."""
    choice = "|".join(known)
    return {"type": "string", "pattern": f"^({choice})(,({choice}))*$"}


def _invalid(name: str, detail: str) -> Problem:
    return Problem(422, f"{name}: {detail}", errors=[{"parameter": name, "detail": detail}])


BODY_TIMEOUT_S: Final = 30.0
"""Seconds for a body to arrive: the largest, 4 MiB, at 140 kB/s."""

DISCARD_TIMEOUT_S: Final = 2.0
"""Seconds in which the rest of a too large body is read and discarded. Closing a connection with
unread bytes resets it, and the client loses the response (RFC 9112 §9.6).
"""

DISCARD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Most bytes of a too large body that are discarded."""


async def read_json(request: Request, size_max: int) -> Any:
    """The decoded JSON body of at most `size_max` bytes. Raises Problem."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, "expected content-type: application/json")
    body = await _read_body(request, size_max)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Problem(400, f"not JSON: {error}") from None


async def _read_body(request: Request, size_max: int) -> bytearray:
    """The body. Raises Problem 413 when it is too large, 408 when it is too slow.

    Most of a too large body is read and discarded, see DISCARD_TIMEOUT_S.
    """
    body, size = bytearray(), 0
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S) as timeout:
            async for chunk in request.stream():
                size += len(chunk)
                if size <= size_max:
                    body += chunk
                elif size - len(chunk) <= size_max:  # this chunk exceeds the limit
                    body.clear()
                    timeout.reschedule(loop.time() + DISCARD_TIMEOUT_S)
                elif size > size_max + DISCARD_BYTES_MAX:
                    break
    except TimeoutError:
        if size <= size_max:
            raise Problem(
                408, "the body came too slowly", headers={"connection": "close"}
            ) from None
    if size > size_max:
        raise Problem(413, f"more than {size_max} bytes", headers={"connection": "close"})
    return body
