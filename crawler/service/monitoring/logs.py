"""Log lines that name their job and their request; as JSON where machines read them."""

from __future__ import annotations

import json
import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

JOB: Final[ContextVar[str]] = ContextVar("job", default="")
"""The job whose task this is; its crawl's tasks inherit it."""

REQUEST: Final[ContextVar[str]] = ContextVar("request", default="")
"""The id of the API request under way: the client's X-Request-ID, or one of ours."""


class JsonLogFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, place in (("job", JOB), ("request", REQUEST)):
            if place.get():
                line[name] = place.get()
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(line, ensure_ascii=False)


class TextLogFormatter(logging.Formatter):
    """One readable line; control characters that a URL could bring to a terminal are replaced."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        about = "".join(f" [{place.get()}]" for place in (JOB, REQUEST) if place.get())
        text = f"{moment} {record.levelname.lower()}{about} {record.getMessage()}"
        line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + "".join(traceback.format_exception(record.exc_info[1]))
        return line


def start_logging(form: str, level: str) -> None:
    """Send this program's log lines to stderr, and only those."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLogFormatter() if form == "json" else TextLogFormatter())
    ours = logging.getLogger("crawler")
    ours.handlers[:] = [handler]
    ours.setLevel(level.upper())
    ours.propagate = False
    for name in ("uvicorn.error",):
        theirs = logging.getLogger(name)
        theirs.handlers[:] = [handler]
        theirs.setLevel("WARNING")
        theirs.propagate = False
