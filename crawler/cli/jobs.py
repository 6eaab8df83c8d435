"""`crawler jobs …`: ask a running service. The command line is the API's first user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from crawler.cli.flags import given, options
from crawler.cli.lazy import LazyGroup
from crawler.cli.sources import seeds_in
from crawler.cli.words import amount, plain, size

if False:  # pragma: no cover - for type checkers
    from crawler.service.client import Api

SERVER: Final = "http://127.0.0.1:8080"

_ = (Callable, Path, Any, LazyGroup, given, options, seeds_in, amount, plain, size)
