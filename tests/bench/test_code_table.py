"""The figures of a package, on one that is written for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import code_table

LONG = "def long():\n" + "    pass\n" * 50
OUTSIDE = """
import os
import threading as th
from json import decoder as dec
from email._parseaddr import quote
from pack.other import mine

class Own(th.Thread):
    def run(self):
        self._mine = self._target  # noqa: A1
        return self._helper

    def _helper(self): ...

def use(answer, own):
    text = "# noqa: in a string"
    own._mine
    mine._ours
    os._exit(1)
    dec._private.deep
    return answer._transport  # type: ignore[attr-defined]
"""


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write(
        tmp_path,
        {
            "__init__.py": "",
            "a.py": "from pack import b\n\nclass Twice: ...\n",
            "b.py": "def late():\n    from pack.sub.c import Twice\n",
            "sub/__init__.py": "",
            "sub/c.py": f"import pack.a\n\nclass Twice: ...\n\n{LONG}",
            "other.py": f"{OUTSIDE}\n_ours = 1\n",
        },
    )


def test_every_figure_is_counted(tree: Path) -> None:
    found = code_table.measure(tree, "pack")
    assert (found.files, found.top_modules) == (6, ("a", "b", "other"))
    assert found.lines == sum(
        len(path.read_text("utf-8").splitlines()) for path in tree.rglob("*.py")
    )
    assert found.repeated_classes == ("Twice",)
    assert found.import_cycles == (("pack.a", "pack.b", "pack.sub.c"),)
    assert found.long_functions == ("sub.c.long (51)",)
    assert (found.longest_module, found.longest_module_lines) == ("sub.c", 55)
    assert (found.noqa, found.type_ignores) == (1, 1)


def test_private_accesses_are_those_into_other_packages(tree: Path) -> None:
    found = code_table.measure(tree, "pack").private_accesses
    assert sorted(where.partition(" ")[2] for where in found) == [
        "Own._target", "answer._transport", "dec._private", "email._parseaddr.quote",
    ]  # fmt: skip


def test_two_trees_stand_side_by_side(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = write(tmp_path / "small", {"only.py": "x = 1\n"}) / "pack"
    assert code_table.main([str(tree), str(small), "--package", "pack", "--details"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"| | {tree} | {small} |\n|---|--:|--:|\n")
    assert "| files | 6 | 1 |\n" in out
    assert "| longest module | sub.c, 55 | only, 1 |\n" in out
    assert "long function" not in out
    assert code_table.main([str(tree), "--package", "pack", "--details"]) == 0
    assert "import cycle: pack.a, pack.b, pack.sub.c\n" in capsys.readouterr().out


def test_a_folder_without_python_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_table.main([str(tmp_path)]) == 2
    assert "no Python files" in capsys.readouterr().err
