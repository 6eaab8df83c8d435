"""Errors as RFC 9457 problem details: for a machine and for a person, without internals."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from crawler.service.monitoring.logs import REQUEST

MEDIA: Final = "application/problem+json"


class Problem(Exception):
    """Raised anywhere in a handler; becomes the answer."""

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
        return Response(msgspec.json.encode(body), self.status, self.headers, MEDIA)


def missing(what: str) -> Problem:
    return Problem(404, f"no such {what}")
