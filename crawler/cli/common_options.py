"""Options that several commands have: how much is said, and how a crawl is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def screen_options(command: F) -> F:
    """How much is said, and how."""
    for option in (
        click.option("-q", "--silent", is_flag=True, help="Say nothing but errors."),
        click.option("-v", "--verbose", count=True, help="Log visits; twice: everything."),
        click.option("--no-color", is_flag=True, help="No colours."),
        click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout."),
        click.option("--print-config", is_flag=True,
                     help="Show every setting and where it comes from; crawl nothing."),
    ):  # fmt: skip
        command = option(command)
    return command


def loops_option(command: F) -> F:
    """For commands that can crawl with several loops."""
    return click.option(
        "--loops",
        type=click.IntRange(min=1),
        metavar="N",
        help="So many loops, each a process; their queue is a Redis or Valkey, started for the "
        "crawl unless --frontier names one. Unset: one, and its queue in a file.",
    )(command)


def dry_option(command: F) -> F:
    """For commands that can tell what they would do."""
    return click.option(
        "--dry-run",
        is_flag=True,
        help="Show what would be visited, and why not; fetch and write nothing.",
    )(command)
