"""A terminal as rich sees it; apart from screen.py, which does without rich where it can."""

from __future__ import annotations

from rich.console import Console


class Terminal(Console):
    """A console that falls silent when its reader has gone; rich would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
