"""What a route is: the one table that the server answers from and `/openapi.json` is made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crawler.service.http.access import Role
from crawler.service.http.problem import Problem

Row = TypeVar("Row")

Page: TypeAlias = tuple[tuple[Row, ...], str | None]
"""Rows, and the cursor to go on from."""

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]

MOST: Final = 1000
"""Rows of one page of a list, at most."""


class Param(msgspec.Struct, frozen=True):
    """A parameter in the path or in the query."""

    name: str
    help: str
    schema: Mapping[str, Any]
    place: str = "query"
    example: Any = None


class Route(msgspec.Struct, frozen=True):
    """One operation. `role` None: anybody, without a token. `body`, `gives`: names of schemas.

    `gives` maps a status to (schema name or "" for no JSON, media type, words).
    """

    method: str
    path: str
    name: str
    summary: str
    answer: Answer
    role: Role | None = Role.READ
    params: tuple[Param, ...] = ()
    body: str = ""
    gives: Mapping[int, tuple[str, str, str]] = {}
    fails: tuple[int, ...] = ()


JSON: Final = "application/json"

CURSOR: Final = Param(
    "cursor",
    "Where to go on: `next` of the page before",
    {"type": "string", "pattern": "^[0-9]{1,18}$"},
)
LIMIT: Final = Param(
    "limit", "Rows at most", {"type": "integer", "minimum": 1, "maximum": MOST, "default": 100},
    example=100,
)  # fmt: skip
JOB: Final = Param(
    "id", "A job's id", {"type": "string", "pattern": "^[0-9a-f]{12}$"}, "path", "0123456789ab"
)


def json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, dict(headers or {}), JSON)


def whole(request: Request, name: str, default: int, least: int = 1, most: int = MOST) -> int:
    """A query parameter that is a whole number. Raises Problem 422."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
        raise _bad(name, f"expected a whole number from {least} to {most}")
    return int(text)


def cursor(request: Request) -> int | None:
    """The cursor: a number to our eyes, a word to the client's. None: from the start."""
    if "cursor" not in request.query_params:
        return None
    return whole(request, "cursor", 0, 0, 2**62)


class Paging(msgspec.Struct, frozen=True):
    """Which rows of a list are asked for: those after `after` (None: from the start), `limit` at
    most. One more is to be read, so that `page` can tell whether any follow.
    """

    after: int | None
    limit: int

    @property
    def read(self) -> int:
        return self.limit + 1

    def page(self, rows: Sequence[Row], place: Callable[[Row], object]) -> Page[Row]:
        """The rows to show, and the cursor behind the last of them; None: that was all."""
        shown = tuple(rows[: self.limit])
        return shown, str(place(shown[-1])) if len(rows) > self.limit else None


def paging(request: Request) -> Paging:
    """`CURSOR` and `LIMIT` of a request. Raises Problem 422."""
    limit = whole(request, "limit", 100)
    return Paging(cursor(request), limit)


def among(request: Request, name: str, known: tuple[str, ...]) -> list[str]:
    """A query parameter that is a list of known words. Raises Problem 422."""
    if name not in request.query_params:
        return []
    words = request.query_params[name].split(",")
    for word in words:
        if word not in known:
            raise _bad(name, f"{word[:40]!r} is none of {', '.join(known)}")
    return words


def words_of(known: tuple[str, ...]) -> dict[str, Any]:
    """The schema of `among`."""
    one = "|".join(known)
    return {"type": "string", "pattern": f"^({one})(,({one}))*$"}


def _bad(name: str, detail: str) -> Problem:
    return Problem(422, f"{name}: {detail}", errors=[{"parameter": name, "detail": detail}])
