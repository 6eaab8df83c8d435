"""Log lines with the ids of their job and API request, as text or as JSON."""

from __future__ import annotations

import json
import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

JOB: Final[ContextVar[str]] = ContextVar("job", default="")
"""Id of the job that the current task belongs to; its crawl's tasks inherit it."""

REQUEST: Final[ContextVar[str]] = ContextVar("request", default="")
"""Id of the current API request: the client's X-Request-ID, or a random one."""


class JsonLogFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, variable in (("job", JOB), ("request", REQUEST)):
            if variable.get():
                line[name] = variable.get()
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(line, ensure_ascii=False)


class TextLogFormatter(logging.Formatter):
    """One readable line. Control characters, which a URL could send to a terminal, are replaced."""

    def format(self, record: logging.LogRecord) -> str:
        time_of_day = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        ids = "".join(f" [{variable.get()}]" for variable in (JOB, REQUEST) if variable.get())
        text = f"{time_of_day} {record.levelname.lower()}{ids} {record.getMessage()}"
        line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + "".join(traceback.format_exception(record.exc_info[1]))
        return line


def start_logging(form: str, level: str) -> None:
    """Log to stderr: this package from `level` on, uvicorn's errors from warning on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLogFormatter() if form == "json" else TextLogFormatter())
    package_logger = logging.getLogger("crawler")
    package_logger.handlers[:] = [handler]
    package_logger.setLevel(level.upper())
    package_logger.propagate = False
    uvicorn_logger = logging.getLogger("uvicorn.error")
    uvicorn_logger.handlers[:] = [handler]
    uvicorn_logger.setLevel("WARNING")
    uvicorn_logger.propagate = False
