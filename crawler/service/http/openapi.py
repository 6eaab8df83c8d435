"""/openapi.json, generated from the table of routes and their response records. Pure."""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from crawler.service.http import admin_api, views
from crawler.service.http.jobs_api import DownloadList
from crawler.service.http.routes import JSON, PROBLEM_MEDIA_TYPE, Param, Route
from crawler.service.jobs.store_tables import JobEvent
from crawler.service.results.crawl_results import UrlStory
from crawler.version import __version__

_RECORDS: Final = (
    views.JobView, views.JobList, views.PageList, views.LinkList, views.HostList, views.FileList,
    admin_api.TokenView, admin_api.TokenList, admin_api.ScheduleView,
    admin_api.ScheduleList, admin_api.AuditList,
    views.HealthView, JobEvent, UrlStory, admin_api.NewToken, admin_api.NewSchedule,
    DownloadList,
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
    """The OpenAPI 3.1 document. The schemas are those of crawl and download request bodies."""
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
    # The record declares a plain object; it is the body of a new job.
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
    responses: dict[str, Any] = {}
    for status, (schema, media, description) in route.responses.items():
        response: dict[str, Any] = {"description": description}
        if media:
            content: dict[str, Any] = {}
            if schema:
                content["schema"] = {"$ref": f"#/components/schemas/{schema}"}
            response["content"] = {media: content}
        responses[str(status)] = response
    for status in sorted({*route.error_statuses, *_common_errors(route)}):
        responses[str(status)] = {
            "description": http.HTTPStatus(status).phrase,
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": responses,
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


def _common_errors(route: Route) -> set[int]:
    """Error statuses of `ApiMiddleware`, which every route may return."""
    statuses = {421, 429} if route.role is None else {401, 403, 421, 429}
    if route.body:
        statuses |= {400, 408, 413, 415}
    return statuses | {500, 503}


def _parameter(param: Param) -> dict[str, Any]:
    parameter: dict[str, Any] = {
        "name": param.name,
        "in": param.location,
        "description": param.help,
        "schema": dict(param.schema),
        "required": param.location == "path" or param.name == "url",
    }
    if param.example is not None:
        parameter["example"] = param.example
    return parameter
