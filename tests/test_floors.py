"""The house stands: a file imports only from lower floors, and rooms do not see each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "crawler"

FLOORS = {
    0: {"model", "errors", "tether", "background"},
    1: {
        "urls",
        "config",
        "mime",
        "scope",
        "traps",
        "robots",
        "robots_lines",
        "rulebook",
        "pace",
        "rate",
        "retry",
        "settings",
        "units",
        "dates",
        "proxies",
        "identity",
        "secrets",
        "patterns",
        "warc",
        "revisit",
        "charts",
        "waits",
        "faults",
        "nofollow",
        "ending",
        "plugin_sums",
    },
    2: {"protocols", "tally", "verdict", "asker"},
    3: {
        "adoption",
        "awake",
        "folder",
        "gate",
        "leased",
        "ledger",
        "present",
        "running",
        "stages",
        "start",
        "watch",
    },
    4: {"crawl", "frontier", "fetch", "parse", "sinks", "transfer"},
    5: {"outputs", "build", "trip", "depot", "standing", "export", "report"},
    6: {"library", "delivery", "cli", "service", "bench", "__main__"},
}
"""Floor 4 is the loop and the rooms beside it: none of them sees another."""

INSIDE_FLOOR_1 = {
    "plugin_sums": {"units"},
    "scope": {"urls", "config", "traps", "patterns"},
    "traps": {"config"},
    "urls": {"config"},
    "robots": {"robots_lines", "rulebook"},
    "pace": {"config"},
    "retry": {"config", "dates"},
    "waits": {"pace", "units", "urls"},
    "settings": {"config", "units"},
    "identity": {"config", "urls"},
    "secrets": {"config"},
    "ending": {"units"},
}
"""The rules build on each other in this order only."""

INSIDE_FLOOR_2 = {"asker": {"protocols"}}

INSIDE_FLOOR_5 = {"build": {"outputs"}, "trip": {"build"}, "standing": {"depot"}}

INSIDE_FLOOR_6 = {"__main__": {"cli"}, "cli": {"bench", "service"}}

FORBIDDEN_NAMES = {"utils", "util", "common", "base", "manager", "core", "helpers", "helper"}

FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def floor_of(name: str) -> int:
    return next(floor for floor, names in FLOORS.items() if name in names)


def room_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "crawler" and len(parts) > 1 and not parts[1].startswith("__v"):
                rooms.add(parts[1])
    return rooms - {room_of(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_from_lower_floors(path: Path) -> None:
    room = room_of(path)
    floor = floor_of(room)
    inside = (INSIDE_FLOOR_1, INSIDE_FLOOR_2, INSIDE_FLOOR_5, INSIDE_FLOOR_6)
    allowed = set().union(*(rooms.get(room, set()) for rooms in inside))
    known = {name for names in FLOORS.values() for name in names}
    for other in imported_rooms(path) & known:
        assert floor_of(other) < floor or other in allowed, f"{room} (floor {floor}) sees {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_say_what_a_file_is(path: Path) -> None:
    assert path.stem not in FORBIDDEN_NAMES
    assert path.parent.name not in FORBIDDEN_NAMES
