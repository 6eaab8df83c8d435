"""OpenTelemetry traces, when the extra `otel` is installed and an endpoint is configured.

One span for each API request and for each run of a job. The standard environment variables
configure the exporter (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME …).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from starlette.requests import Request

from crawler.errors import ConfigError


class Tracing:
    """Context managers that record spans. `tracer` None: tracing is off."""

    def __init__(self, tracer: Any = None) -> None:
        self._tracer = tracer

    @contextmanager
    def request(self, name: str, request: Request) -> Iterator[None]:
        """A span around an API request, continuing the client's trace."""
        if self._tracer is None:
            yield
            return
        from opentelemetry.propagate import extract  # noqa: PLC0415 - the extra

        attributes = {"http.request.method": request.method, "url.path": request.url.path}
        with self._tracer.start_as_current_span(
            name, context=extract(dict(request.headers)), attributes=attributes
        ):
            yield

    @contextmanager
    def job(self, job: str, name: str) -> Iterator[None]:
        """A span around a run of a job, by its id and name."""
        if self._tracer is None:
            yield
            return
        attributes = {"crawler.job.id": job, "crawler.job.name": name}
        with self._tracer.start_as_current_span("job", attributes=attributes):
            yield


TRACING_OFF: Final = Tracing()


def start_tracing(environ: Mapping[str, str]) -> Tracing:
    """Start tracing if an OTLP endpoint is configured. Raises ConfigError without the extra."""
    if not any(name.startswith("OTEL_EXPORTER_OTLP") and value for name, value in environ.items()):
        return TRACING_OFF
    if importlib.util.find_spec("opentelemetry.sdk") is None:
        raise ConfigError("OTEL_EXPORTER_OTLP_…: install crawler[otel] for traces")
    from opentelemetry import trace  # noqa: PLC0415 - the extra
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return Tracing(trace.get_tracer("crawler"))
