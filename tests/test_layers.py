"""The packages stand in layers, no two modules import each other, and each name means one thing."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import crawler

ROOT = Path(__file__).parent.parent / "crawler"

LAYERS = (
    "version", "errors", "records", "utils", "config", "policy", "interfaces", "engine",
    "frontier.scheduling", "frontier.sqlite", "frontier.redis", "frontier.migrate", "output.warc",
    "fetch", "parse", "output", "downloads", "bootstrap", "export", "report", "demo", "service",
    "bench", "cli", "__main__",
)  # fmt: skip
"""Bottom up, as in `crawler/__init__.py`: a module imports from its own layer and those before."""

APART = {"fetch", "parse", "output", "downloads", "frontier.sqlite"}
"""What the engine works with: none of them imports another."""

OUTSIDE = {"benchmarks", "tests"}
"""Beside the package and not installed with it: they import it, it does not import them."""

MAX_LOOSE = 8
"""Modules at the top of the package, without `__init__`."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}


def imports() -> dict[str, set[str]]:
    """Module → modules of ours that it imports, wherever in it."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found[name] |= {one.name for one in node.names if one.name in MODULES}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for one in node.names:
                    whole = f"{node.module}.{one.name}"
                    target = whole if whole in MODULES else node.module
                    if target in MODULES:
                        found[name].add(target)
    return found


def layer_of(module: str) -> str:
    inside = module.removeprefix("crawler.")
    return max((one for one in LAYERS if f"{inside}.".startswith(f"{one}.")), key=len, default="")


IMPORTS = imports()


@pytest.mark.parametrize("module", [name for name in MODULES if name != "crawler"])
def test_a_module_imports_only_from_layers_below(module: str) -> None:
    own = layer_of(module)
    if module == "crawler.frontier":
        return
    assert own, f"{module} is in no layer"
    for target in IMPORTS[module]:
        other = layer_of(target)
        assert LAYERS.index(other) <= LAYERS.index(own), f"{module} imports {target}"
        assert own == other or not {own, other} <= APART, f"{module} imports {target}"


def test_the_package_imports_nothing_that_is_not_installed() -> None:
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules.append(node.module)
            roots = {module.partition(".")[0] for module in modules}
            assert not roots & OUTSIDE, f"{name} imports {roots & OUTSIDE}"


def test_no_modules_import_each_other() -> None:
    """Tarjan's components of the imports, those for type checkers and late ones included."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(IMPORTS[module]):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            circle = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(circle) > 1:
                circles.append(sorted(circle))

    for module in MODULES:
        if module not in index:
            visit(module)
    assert circles == []


def test_few_modules_lie_loose() -> None:
    loose = [one for one in ROOT.glob("*.py") if one.stem != "__init__"]
    assert len(loose) <= MAX_LOOSE


def test_no_module_has_the_name_of_another() -> None:
    names = Counter(
        path.stem for path in MODULES.values() if path.stem not in {"__init__", "__main__"}
    )
    assert [name for name, number in names.items() if number > 1] == []


def test_no_class_has_the_name_of_another() -> None:
    names = Counter(
        node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef)
    )
    assert [name for name, number in names.items() if number > 1] == []


def test_the_map_names_every_layer() -> None:
    text = ast.get_docstring(TREES["crawler"]) or ""
    for layer in LAYERS:
        if layer != "__main__":
            assert layer.partition(".")[0] in text, layer
    assert {layer.partition(".")[0] for layer in LAYERS} == {
        path.stem if path.is_file() else path.name
        for path in ROOT.iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    }


def test_the_glossary_leads_to_files_that_are_there() -> None:
    text = (ROOT.parent / "docs" / "glossary.md").read_text("utf-8")
    places = [one for one in re.findall(r"`([\w./]+)`", text) if one.endswith((".py", "/"))]
    assert len(places) > 40
    missing = [
        one for one in places if not any((root / one).exists() for root in (ROOT, ROOT.parent))
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Extract", "ParsedPage"), ("File", "DownloadResult"), ("HouseError", "FatalError"),
        ("Link", "CrawlUrl"), ("Occupied", "FolderLocked"), ("Order", "DownloadRequest"),
        ("Visit", "CrawlResult"),
    ],
)  # fmt: skip
def test_the_librarys_old_names_work_for_a_release(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"crawler.{old} is now crawler.{new}"):
        assert getattr(crawler, old) is getattr(crawler, new)
