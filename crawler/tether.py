"""A program of others that must not outlive us: tied to the thread that starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

_LAUNCH: Final = """\
import ctypes, os, sys
try:
    ctypes.CDLL(None).prctl(1, 15)
except (AttributeError, OSError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Asks the kernel for a SIGTERM when the parent dies, then becomes the program; a parent that died
before is seen by the changed parent id. Linux only, and without it the program only lacks the
guard."""


def tethered(command: Sequence[str]) -> list[str]:
    """The command line that runs `command`, an absolute path first, until this process dies."""
    return [sys.executable, "-c", _LAUNCH, str(os.getpid()), *command]
