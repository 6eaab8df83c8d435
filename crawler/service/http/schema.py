"""JSON schemas of the request bodies of crawls and downloads. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from crawler.config.loader import fields
from crawler.config.model import Config
from crawler.downloads.defaults import DEFAULTS
from crawler.service.http.app_context import AppContext
from crawler.service.jobs import crawl_job_request, download_job_request
from crawler.service.jobs.job import JobState
from crawler.service.jobs.request_body import UNITS

JOB_OPTIONS: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 200, "description": "Display name"},
        "webhooks": {
            "type": "array",
            "maxItems": 8,
            "description": "Receivers of state changes",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["url"],
                "properties": {
                    "url": {"type": "string", "pattern": "^https?://"},
                    "secret": {"type": ["string", "null"]},
                    "events": {
                        "type": "array",
                        "items": {"enum": [state.value for state in JobState]},
                    },
                },
            },
        },
    },
}
"""Section `job` of a body; see `JobOptions`."""

_URL: Final = {
    "type": "string",
    "pattern": "^https?://",
    "maxLength": download_job_request.URL_CHARS_MAX,
}

_CHECKSUM: Final = {"type": "string", "pattern": "^([A-Za-z0-9-]+[:=])?[0-9A-Fa-f]+$"}

FILE: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["url"],
    "properties": {
        "url": _URL,
        "name": {"type": ["string", "null"], "description": "A path below the job's folder"},
        "headers": {"type": "object", "additionalProperties": {"type": "string"},
                    "description": "Sent to the URL's origin only"},
        "checksum": {"anyOf": [_CHECKSUM, {"type": "array", "items": _CHECKSUM,
                                      "maxItems": download_job_request.FILE_SOURCES_MAX}],
                     "description": "ALGORITHM:HEX"},
        "size": {"type": ["integer", "null"], "minimum": 0, "description": "Bytes, if known"},
        "mirrors": {"type": "array", "items": _URL,
                    "maxItems": download_job_request.FILE_SOURCES_MAX,
                    "description": "URLs of the same file, best first"},
    },
}  # fmt: skip
"""A file to download; the same fields as a line of `crawler download -i`."""


def job_schema(context: AppContext) -> dict[str, Any]:
    """The schema of a crawl's body."""
    tree = _settable_sections(context, crawl_job_request.is_settable)
    tree["seeds"] |= {"minItems": 1, "items": {"type": "string", "pattern": "^https?://"}}
    return _body({**tree, "job": JOB_OPTIONS}, "seeds")


def download_schema(context: AppContext) -> dict[str, Any]:
    """The schema of a download's body."""
    tree = _settable_sections(context, download_job_request.is_settable)
    for key, value in DEFAULTS.items():
        section, _, name = key.partition(".")
        if name in tree.get(section, {}).get("properties", {}):
            tree[section]["properties"][name]["default"] = _plain(value)
    tree["download"]["properties"]["name"]["pattern"] = download_job_request.NAME_TEMPLATE
    files = {
        "type": "array", "minItems": 1, "items": {"anyOf": [_URL, FILE]},
        "description": f"Files to download, at most {download_job_request.FILES_MAX} files",
        "examples": [["https://example.com/a.zip", {
            "url": "https://example.com/b.iso", "name": "images/b.iso",
            "checksum": f"sha256:{'0' * 64}", "mirrors": ["https://example.org/b.iso"],
        }]],
    }  # fmt: skip
    return _body({"files": files, **tree, "job": JOB_OPTIONS}, "files")


def _body(properties: dict[str, Any], required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [required],
        "additionalProperties": False,
    }


def _settable_sections(context: AppContext, is_settable: Callable[..., bool]) -> dict[str, Any]:
    """The schema of all settings that a body may set, as a tree of sections."""
    _, components = msgspec.json.schema_components((Config,), ref_template="#/$defs/{name}")
    tree: dict[str, Any] = {}
    for key, field in fields().items():
        if not is_settable(key, context.config.allow):
            continue
        schema = _model_schema(components, key)
        schema["description"] = context.help.get(key, "")
        configured = _configured_default(context, key)
        schema["default"] = _plain(field.default) if configured is None else configured
        section, _, name = key.rpartition(".")
        properties = tree
        if section:
            properties = tree.setdefault(
                section, {"type": "object", "properties": {}, "additionalProperties": False}
            )["properties"]
        properties[name] = _with_unit(schema, field.unit) if field.unit else schema
    return tree


def _model_schema(components: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The schema that msgspec generates for a setting, without its default."""
    section, _, name = key.rpartition(".")
    source = components["Config"]
    if section:
        reference = source["properties"][section]
        target = (
            reference.get("$ref")
            or reference["allOf" if "allOf" in reference else "anyOf"][0]["$ref"]
        )
        source = components[target.rpartition("/")[2]]
    return {
        keyword: value
        for keyword, value in source["properties"][name].items()
        if keyword != "default"
    }


def _configured_default(context: AppContext, key: str) -> Any:
    """The operator's default of a setting; None: there is none."""
    value: Any = dict(context.defaults)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _with_unit(schema: dict[str, Any], unit: str) -> dict[str, Any]:
    """Allow text with a unit, such as "5m", beside the number."""
    number = {
        keyword: value
        for keyword, value in schema.items()
        if keyword not in {"description", "default"}
    }
    return {
        "anyOf": [number, {"type": "string", "pattern": UNITS[unit]}],
        "description": schema["description"],
        "default": schema["default"],
        "x-unit": unit,
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
