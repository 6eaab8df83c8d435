"""Programs that we start: tied to the thread that starts them, and importing what we import."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
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
    return [sys.executable, "-I", "-c", _LAUNCH, str(os.getpid()), *command]


def safe_path() -> dict[str, str]:
    """The variables with which a Python imports what this one imports, and nothing that happens to
    lie in the working directory: a `ctypes.py` that was downloaded there, or another `crawler`.
    """
    root = Path(__file__).parents[1]
    try:
        beside = Path.cwd() == root
    except OSError:  # it was removed
        beside = False
    if not beside:
        return {"PYTHONSAFEPATH": "1"}
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]  # run from its sources
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}
