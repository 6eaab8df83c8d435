"""The dashboard: the static files in `page/`, without a build step.

The page uses the API with the token that the user enters, like `crawler jobs`, and sends no request
to other servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)

FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/page/parts.js": ("parts.js", "text/javascript; charset=utf-8"),
    "/page/downloads.js": ("downloads.js", "text/javascript; charset=utf-8"),
    "/page/form.js": ("form.js", "text/javascript; charset=utf-8"),
    "/page/workers.js": ("workers.js", "text/javascript; charset=utf-8"),
}


def pages() -> Sequence[Route]:
    """Routes of the static files. They need no token: the files contain no data."""
    return [_page(path, *file) for path, file in FILES.items()]


def _page(path: str, name: str, media: str) -> Route:
    text = resources.files(__package__).joinpath("page", name).read_bytes()
    headers = {"content-security-policy": CONTENT_SECURITY_POLICY, "cache-control": "no-cache"}

    async def page(request: Request) -> Response:  # noqa: ARG001 - every route has one
        return Response(text, headers=headers, media_type=media)

    return Route(path, page, methods=["GET"], name=name)
