"""Where the person looks: what happens goes to stderr, results to stdout; neither can end a crawl.

A terminal may go away in the middle of the night and a pipe may close: then nobody reads any more,
and the crawl goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TextIO

from rich.console import Console
from rich.text import Text

from crawler.cli.words import harmless

LINE = 2000
"""Characters of one message at most."""


def out(text: str) -> None:
    """A result, to stdout; nothing happens when nobody reads it."""
    try:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        mute(sys.stdout)


def mute(stream: TextIO) -> None:
    """Send a stream whose reader has gone to nowhere, so that no later flush fails either."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Terminal(Console):
    """A console that falls silent when its reader has gone; rich would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Screen:
    """One run's way to speak: one console for all that goes to stderr, so nothing overlaps."""

    def __init__(
        self,
        *,
        silent: bool = False,
        verbose: int = 0,
        no_color: bool = False,
        as_json: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self.silent = silent
        self.verbose = verbose
        self.no_color = no_color
        self.as_json = as_json
        self.console = Terminal(
            file=stream or sys.stderr,
            no_color=no_color or None,  # None: as NO_COLOR in the environment says
            highlight=False,
            markup=False,
            emoji=False,
        )

    def say(self, text: str) -> None:
        """One line for the person, strangers' control characters taken out. Never raises."""
        with contextlib.suppress(OSError, ValueError):  # the terminal has gone
            self.console.print(Text(harmless(text[:LINE])), soft_wrap=True)

    def listen(self) -> None:
        """Let the house's log lines appear here: warnings, with -v visits, with -vv everything."""
        level = {0: logging.WARNING, 1: logging.INFO}.get(self.verbose, logging.DEBUG)
        logger = logging.getLogger("crawler")
        logger.setLevel(logging.ERROR if self.silent else level)
        logger.handlers = [_Lines(self)]
        logger.propagate = False


class _Lines(logging.Handler):
    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            self._screen.say(line)
