"""/openapi.json, made from the table of routes and the records that they answer with. Pure."""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from crawler.service.http import admin_views, views
from crawler.service.http.admin_api import NewSchedule, NewToken
from crawler.service.http.downloads_api import DownloadList
from crawler.service.http.problem import MEDIA
from crawler.service.http.routes import JSON, Param, Route
from crawler.service.jobs.messages import JobEvent
from crawler.service.results.crawl_results import UrlStory
from crawler.version import __version__

_RECORDS: Final = (
    views.JobView, views.JobList, views.PageList, views.LinkList, views.HostList, views.FileList,
    admin_views.TokenView, admin_views.TokenList, admin_views.ScheduleView,
    admin_views.ScheduleList, admin_views.AuditList,
    views.HealthView, JobEvent, UrlStory, NewToken, NewSchedule, DownloadList,
)  # fmt: skip

PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}

EXAMPLES: Final[Mapping[str, Any]] = {
    "NewJob": {
        "seeds": ["https://example.com/"],
        "limits": {"max_pages": 100},
        "job": {"name": "example"},
    },
    "NewToken": {"name": "grafana", "role": "read"},
    "NewSchedule": {
        "cron": "15 3 * * *",
        "zone": "UTC",
        "job": {"seeds": ["https://example.com/"], "limits": {"max_pages": 100}},
    },
}


def document(
    routes: Sequence[Route], job_schema: Mapping[str, Any], download_schema: Mapping[str, Any]
) -> dict[str, Any]:
    """The whole description, OpenAPI 3.1."""
    _, components = msgspec.json.schema_components(
        _RECORDS, ref_template="#/components/schemas/{name}"
    )
    schemas: dict[str, Any] = {
        **components,
        "Job": dict(job_schema),
        "Download": dict(download_schema),
        "NewJob": {
            "anyOf": [{"$ref": f"#/components/schemas/{one}"} for one in ("Job", "Download")]
        },
        "Schema": {"type": "object"},
        "Problem": PROBLEM,
    }
    # A schedule's job is a job's body, by another name in the record.
    schemas["NewSchedule"]["properties"]["job"] = {"$ref": "#/components/schemas/NewJob"}
    schemas["NewToken"]["properties"]["name"]["pattern"] = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
    paths: dict[str, Any] = {}
    for route in routes:
        path = paths.setdefault(route.path, {})
        path[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "crawler",
            "version": __version__,
            "description": "Crawls as jobs. Errors are problem details (RFC 9457).",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, (schema, media, words) in route.gives.items():
        answer: dict[str, Any] = {"description": words}
        if media:
            content: dict[str, Any] = {}
            if schema:
                content["schema"] = {"$ref": f"#/components/schemas/{schema}"}
            answer["content"] = {media: content}
        answers[str(status)] = answer
    for status in sorted({*route.fails, *_always(route)}):
        answers[str(status)] = {
            "description": http.HTTPStatus(status).phrase,
            "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": answers,
        "security": [] if route.role is None else [{"token": []}],
    }
    if route.role is not None:
        operation["description"] = f"Needs a token with the role `{route.role}`."
    if route.params:
        operation["parameters"] = [_parameter(param) for param in route.params]
    if route.body:
        operation["requestBody"] = {
            "required": True,
            "content": {
                JSON: {
                    "schema": {"$ref": f"#/components/schemas/{route.body}"},
                    "example": EXAMPLES[route.body],
                }
            },
        }
    return operation


def _always(route: Route) -> set[int]:
    """What any route may answer besides its own: the door's words."""
    found = {421, 429} if route.role is None else {401, 403, 421, 429}
    if route.body:
        found |= {400, 408, 413, 415}
    return found | {500, 503}


def _parameter(param: Param) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": param.name,
        "in": param.place,
        "description": param.help,
        "schema": dict(param.schema),
        "required": param.place == "path" or param.name == "url",
    }
    if param.example is not None:
        made["example"] = param.example
    return made
