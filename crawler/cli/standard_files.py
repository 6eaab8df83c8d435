"""Replace stdin, stdout and stderr where they are closed, or where their encoding cannot write."""

from __future__ import annotations

import os
import sys
from typing import Final, TextIO

_MODES: Final = ("r", "w", "w")


def open_standard_files() -> None:
    """Give each standard file that is closed a place: nowhere, which is read as empty.

    Else the next file or socket that is opened gets its number, and whatever writes to stderr
    writes into it; libuv ends the process when it finds one of its own pipes there.
    """
    for number, mode in enumerate(_MODES):
        try:
            os.fstat(number)
        except OSError:
            try:
                opened = os.open(os.devnull, os.O_RDWR)
            except OSError:  # there is no /dev
                opened, other = os.pipe()
                if other > 2 and mode == "r":
                    os.close(other)
            if opened != number:  # a lower one was free, too: it is next
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or _stream(0)
    sys.stdout = sys.stdout or _stream(1)
    sys.stderr = sys.stderr or _stream(2)


def _stream(number: int) -> TextIO:
    return open(number, _MODES[number], encoding="utf-8", errors="replace", closefd=False)
