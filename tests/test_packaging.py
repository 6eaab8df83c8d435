"""What the wheel and the source distribution contain."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parent.parent


def test_the_wheel_has_the_package_and_no_developer_code() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    packages = setuptools.find_packages(str(ROOT), include=settings["packages"]["find"]["include"])
    assert "crawler.bench.variants" in packages
    assert {package.partition(".")[0] for package in packages} == {"crawler"}


def test_the_source_distribution_has_what_developers_run(tmp_path: Path) -> None:
    if int(setuptools.__version__.partition(".")[0]) < 77:
        pytest.skip("setuptools is older than the build needs")
    tree, out = tmp_path / "tree", tmp_path / "out"
    # Own build folders and Git's are no source; a copy, because setuptools writes into the tree.
    hidden = shutil.ignore_patterns(".*", "*.so", "__pycache__", "build", "*.egg-info", "crawls")
    shutil.copytree(ROOT, tree, ignore=hidden)
    (tree / ".dockerignore").write_text("", "utf-8")
    out.mkdir()
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(out)!r})"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "benchmarks/guard.py", "benchmarks/url_walk.py", "benchmarks/code_table.py", "Makefile",
        "tests/test_packaging.py", "crawler/bench/plan.py", "crawler/parse/_native.c",
    } <= names  # fmt: skip
