"""Where the person looks: what happens goes to stderr, results to stdout; neither can end a crawl.

A terminal may go away in the middle of the night and a pipe may close: then nobody reads any more,
and the crawl goes on. What is no terminal gets plain lines, as rich would write them; rich itself,
16 ms of CPU, is loaded for terminals only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

from crawler.cli.formatting import harmless

if TYPE_CHECKING:
    from rich.console import Console

FORCED = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""Variables by which rich takes what is none for a terminal: then it is to decide."""

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
        self._stream = stream or sys.stderr

    @cached_property
    def console(self) -> Console:
        """Rich's, on the same stream."""
        from crawler.cli.terminal import Terminal  # noqa: PLC0415 - see above

        return Terminal(
            file=self._stream,
            no_color=self.no_color or None,  # None: as NO_COLOR in the environment says
            highlight=False,
            markup=False,
            emoji=False,
        )

    @cached_property
    def plain(self) -> bool:
        """Whether lines are written as they are."""
        if "console" in vars(self) or any(os.environ.get(name) for name in FORCED):
            return False
        try:
            return not self._stream.isatty()
        except ValueError:  # closed
            return True

    @property
    def moves(self) -> bool:
        """Whether what was drawn can be drawn over."""
        console = None if self.plain else self.console
        return console is not None and console.is_terminal and not console.is_dumb_terminal

    def say(self, text: str) -> None:
        """One line for the person, strangers' control characters taken out. Never raises."""
        line = harmless(text[:LINE])
        with contextlib.suppress(OSError, ValueError):  # the terminal has gone
            if not self.plain:
                self.console.print(line, soft_wrap=True)
                return
            try:
                self._stream.write(f"{line}\n")
                self._stream.flush()
            except BrokenPipeError:
                mute(self._stream)

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
        if record.exc_info and not self._screen.verbose:  # the message says what and where
            record = copy(record)
            record.exc_info = record.exc_text = None
        for line in self.format(record).splitlines():
            self._screen.say(line)
