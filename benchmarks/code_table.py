"""Size and quality figures of a Python package: `python -m benchmarks.code_table TREE [TREE]`

A tree is a folder with a package in it (`crawler` by default), or the package itself. Two trees are
shown side by side. Everything is read from the syntax trees; nothing is imported.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import msgspec

LONG_FUNCTION: Final = 50
"""Lines of a function from which on it counts as long, exclusive."""

DOCUMENTED: Final = frozenset({"_exit", "_asdict", "_fields", "_make", "_replace"})
"""Public in spite of the underscore: `os._exit` and the methods of named tuples."""

NOQA: Final = re.compile(r"#\s*noqa\b")
TYPE_IGNORE: Final = re.compile(r"#\s*type:\s*ignore\b")


class CodeTable(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one package; names are those of modules, classes and functions, sorted."""

    lines: int
    files: int
    top_modules: tuple[str, ...]
    repeated_classes: tuple[str, ...]
    import_cycles: tuple[tuple[str, ...], ...]
    long_functions: tuple[str, ...]
    longest_module: str
    longest_module_lines: int
    private_accesses: tuple[str, ...]
    noqa: int
    type_ignores: int

    def rows(self) -> Iterator[tuple[str, str]]:
        """The table: what is counted, and the figure."""
        yield "lines of Python", f"{self.lines:,}"
        yield "files", f"{self.files:,}"
        yield "modules at top level", str(len(self.top_modules))
        yield "class names used twice", str(len(self.repeated_classes))
        yield "import cycles", str(len(self.import_cycles))
        yield f"functions over {LONG_FUNCTION} lines", str(len(self.long_functions))
        yield "longest module", f"{self.longest_module}, {self.longest_module_lines}"
        yield "private accesses into libraries", str(len(self.private_accesses))
        yield "# noqa", str(self.noqa)
        yield "type: ignore", str(self.type_ignores)


def measure(tree: Path, package: str = "crawler") -> CodeTable:
    """Read all modules of a package. Raises ValueError when there are none."""
    root = tree / package if (tree / package).is_dir() else tree
    paths = sorted(path for path in root.rglob("*.py") if "__pycache__" not in path.parts)
    if not paths:
        raise ValueError(f"{root}: no Python files")
    texts = {module_name(path, root): path.read_text("utf-8") for path in paths}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    lengths = {name: len(text.splitlines()) for name, text in texts.items()}
    longest = max(lengths, key=lambda name: lengths[name])
    defined = defined_private(trees.values())
    comments = [comment for text in texts.values() for comment in _comments(text)]
    inside = f"{root.name}."
    return CodeTable(
        lines=sum(lengths.values()),
        files=len(paths),
        top_modules=tuple(
            path.stem for path in sorted(root.glob("*.py")) if path.stem != "__init__"
        ),
        repeated_classes=_repeated_classes(trees.values()),
        import_cycles=cycles({name: imported(tree, trees) for name, tree in trees.items()}),
        long_functions=tuple(
            f"{name.removeprefix(inside)}.{function}"
            for name, tree in trees.items()
            for function in _long_functions(tree)
        ),
        longest_module=longest.removeprefix(inside),
        longest_module_lines=lengths[longest],
        private_accesses=tuple(
            f"{name.removeprefix(inside)}:{line} {access}"
            for name, tree in trees.items()
            for line, access in private_accesses(tree, root.name, defined)
        ),
        noqa=sum(bool(NOQA.search(comment)) for comment in comments),
        type_ignores=sum(bool(TYPE_IGNORE.search(comment)) for comment in comments),
    )


def module_name(path: Path, root: Path) -> str:
    """The dotted name of a file; a package's `__init__` has the package's name."""
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _comments(text: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def _repeated_classes(trees: Iterable[ast.Module]) -> tuple[str, ...]:
    """Classes at the top of a module that have the name of another."""
    names = Counter(
        node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)
    )
    return tuple(sorted(name for name, number in names.items() if number > 1))


def _long_functions(tree: ast.Module) -> Iterator[str]:
    """Their length includes the docstring, not the decorators."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONG_FUNCTION:
                yield f"{node.name} ({length})"


def imported(tree: ast.Module, modules: Container[str]) -> set[str]:
    """Modules that a module imports, late imports and those for type checkers included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names if one.name in modules}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for one in node.names:
                whole = f"{node.module}.{one.name}"
                target = whole if whole in modules else node.module
                if target in modules:
                    found.add(target)
    return found


def cycles(imports: Mapping[str, AbstractSet[str]]) -> tuple[tuple[str, ...], ...]:
    """Groups of modules that import each other, directly or through others (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(imports[module]):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(tuple(sorted(group)))

    for module in imports:
        if module not in index:
            visit(module)
    return tuple(sorted(found))


def private_accesses(
    tree: ast.Module, package: str, defined: Container[str]
) -> Iterator[tuple[int, str]]:
    """Names with one leading underscore that belong to other packages; yields line and expression.

    These are: imports of such names; such attributes of imported names, and of anything else if no
    module of the package defines them (`defined`); and such attributes of `self` in subclasses of
    imported classes that the class does not define.
    """
    outside: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _private_imports(node, package)
            outside |= _outside_names(node, package)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            base = _innermost(node.value)
            imported_name = isinstance(base, ast.Name) and base.id in outside
            own_self = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            if imported_name or (not own_self and node.attr not in defined):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ClassDef) and _has_base(node, outside):
            yield from _inherited_private(node)


def _innermost(node: ast.expr) -> ast.expr:
    """`a` of `a.b[c].d`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node


def defined_private(trees: Iterable[ast.Module]) -> set[str]:
    """Names with a leading underscore that a package defines or assigns, anywhere in it."""
    found = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return {name for name in found if _is_private(name)}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def _is_outside(node: ast.Import | ast.ImportFrom, module: str, package: str) -> bool:
    relative = isinstance(node, ast.ImportFrom) and node.level > 0
    return not relative and module.partition(".")[0] != package


def _outside_names(node: ast.Import | ast.ImportFrom, package: str) -> set[str]:
    """Names that an import of another package binds."""
    if isinstance(node, ast.ImportFrom):
        if not _is_outside(node, node.module or "", package):
            return set()
        return {one.asname or one.name for one in node.names}
    return {
        one.asname or one.name.partition(".")[0]
        for one in node.names
        if _is_outside(node, one.name, package)
    }


def _private_imports(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.ImportFrom) and _is_outside(node, node.module or "", package):
        for one in node.names:
            path = f"{node.module}.{one.name}"
            if any(_is_private(part) for part in path.split(".")):
                yield node.lineno, path


def _has_base(node: ast.ClassDef, names: Container[str]) -> bool:
    for base in node.bases:
        inner = _innermost(base)
        if isinstance(inner, ast.Name) and inner.id in names:
            return True
    return False


def _inherited_private(node: ast.ClassDef) -> Iterator[tuple[int, str]]:
    """Private attributes of `self` that are read and that the class itself does not define."""
    own = {
        one.name
        for one in ast.walk(node)
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    own |= {
        one.id
        for one in ast.walk(node)
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
    }
    attributes = [
        one
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute)
        and isinstance(one.value, ast.Name)
        and one.value.id == "self"
    ]
    own |= {one.attr for one in attributes if isinstance(one.ctx, ast.Store)}
    for one in attributes:
        if _is_private(one.attr) and one.attr not in own:
            yield one.lineno, f"{node.name}.{one.attr}"


def table(named: Mapping[str, CodeTable]) -> str:
    """Markdown, a column for each tree."""
    text = f"| | {' | '.join(named)} |\n|---|{'--:|' * len(named)}\n"
    for cells in zip(*(found.rows() for found in named.values()), strict=True):
        text += f"| {cells[0][0]} | {' | '.join(figure for _, figure in cells)} |\n"
    return text


def details(found: CodeTable) -> Iterator[str]:
    """What is behind the counts, one finding a line."""
    yield from (f"class name used twice: {name}" for name in found.repeated_classes)
    yield from (f"import cycle: {', '.join(group)}" for group in found.import_cycles)
    yield from (f"long function: {name}" for name in found.long_functions)
    yield from (f"private access: {where}" for where in found.private_accesses)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0; 2 when a tree has no Python files."""
    parser = argparse.ArgumentParser("code-table", description="Figures of a Python package.")
    parser.add_argument("trees", nargs="+", type=Path, metavar="TREE")
    parser.add_argument("--package", default="crawler", help="the folder's name in a tree")
    parser.add_argument("--details", action="store_true", help="list the findings of the last tree")
    given = parser.parse_args(arguments)
    try:
        named = {str(tree): measure(tree, given.package) for tree in given.trees}
    except (ValueError, OSError, SyntaxError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(table(named))
    if given.details:
        sys.stdout.write("".join(f"{line}\n" for line in details(named[str(given.trees[-1])])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
