"""JSON schemas of what a job's body may say: of a crawl's, and of a download's. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from crawler.config.loader import fields
from crawler.config.model import Config
from crawler.downloads.defaults import DEFAULTS
from crawler.service.http.app_context import AppContext
from crawler.service.jobs import crawl_job_request, download_job_request
from crawler.service.jobs.job import JobState
from crawler.service.jobs.request_body import UNITS

EXTRAS: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 200, "description": "What you call it"},
        "webhooks": {
            "type": "array",
            "maxItems": 8,
            "description": "Who is told about changes of state",
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
"""The body's own section `job`."""

_URL: Final = {"type": "string", "pattern": "^https?://", "maxLength": download_job_request.LONGEST}

_SUM: Final = {"type": "string", "pattern": "^([A-Za-z0-9-]+[:=])?[0-9A-Fa-f]+$"}

FILE: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["url"],
    "properties": {
        "url": _URL,
        "name": {"type": ["string", "null"], "description": "A path below the job's folder"},
        "headers": {"type": "object", "additionalProperties": {"type": "string"},
                    "description": "Sent to the URL's origin only"},
        "checksum": {"anyOf": [_SUM, {"type": "array", "items": _SUM,
                                      "maxItems": download_job_request.MOST_PLACES}],
                     "description": "ALGORITHM:HEX"},
        "size": {"type": ["integer", "null"], "minimum": 0, "description": "Bytes, where known"},
        "mirrors": {"type": "array", "items": _URL, "maxItems": download_job_request.MOST_PLACES,
                    "description": "Places with the same bytes, best first"},
    },
}  # fmt: skip
"""A file to download, with what is known of it; the same as a line of `crawler download -i`."""


def job_schema(parts: AppContext) -> dict[str, Any]:
    """A crawl's."""
    tree = _open_settings(parts, crawl_job_request.is_open)
    tree["seeds"] |= {"minItems": 1, "items": {"type": "string", "pattern": "^https?://"}}
    return _body({**tree, "job": EXTRAS}, "seeds")


def download_schema(parts: AppContext) -> dict[str, Any]:
    """A download's."""
    tree = _open_settings(parts, download_job_request.is_open)
    for key, value in DEFAULTS.items():
        section, _, name = key.partition(".")
        if name in tree.get(section, {}).get("properties", {}):
            tree[section]["properties"][name]["default"] = _plain(value)
    tree["download"]["properties"]["name"]["pattern"] = download_job_request.TEMPLATE
    files = {
        "type": "array", "minItems": 1, "items": {"anyOf": [_URL, FILE]},
        "description": f"What to fetch, at most {download_job_request.MOST} files",
        "examples": [["https://example.com/a.zip", {
            "url": "https://example.com/b.iso", "name": "images/b.iso",
            "checksum": f"sha256:{'0' * 64}", "mirrors": ["https://example.org/b.iso"],
        }]],
    }  # fmt: skip
    return _body({"files": files, **tree, "job": EXTRAS}, "files")


def _body(properties: dict[str, Any], needed: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [needed],
        "additionalProperties": False,
    }


def _open_settings(parts: AppContext, may_set: Callable[..., bool]) -> dict[str, Any]:
    """The configuration model as this service takes it: closed keys are left out."""
    known = fields()
    tree: dict[str, Any] = {}
    _, components = msgspec.json.schema_components((Config,), ref_template="#/$defs/{name}")
    root = components["Config"]
    for key, field in known.items():
        if not may_set(key, parts.config.allow):
            continue
        section, _, name = key.rpartition(".")
        source = root
        if section:
            reference = root["properties"][section]
            target = (
                reference.get("$ref")
                or reference["allOf" if "allOf" in reference else "anyOf"][0]["$ref"]
            )
            source = components[target.rpartition("/")[2]]
        shown = {
            key_: value for key_, value in source["properties"][name].items() if key_ != "default"
        }
        shown["description"] = parts.help.get(key, "")
        preset: Any = dict(parts.defaults)
        for part in key.split("."):
            preset = preset.get(part) if isinstance(preset, dict) else None
        shown["default"] = preset if preset is not None else _plain(field.default)
        if field.unit:
            shown = {
                "anyOf": [{k: v for k, v in shown.items() if k not in {"description", "default"}},
                          {"type": "string", "pattern": UNITS[field.unit]}],
                "description": shown["description"], "default": shown["default"],
                "x-unit": field.unit,
            }  # fmt: skip
        place = tree
        if section:
            place = tree.setdefault(
                section, {"type": "object", "properties": {}, "additionalProperties": False}
            )["properties"]
        place[name] = shown
    return tree


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
