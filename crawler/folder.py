"""The crawl's folder: what lies in it, and whether it is fit for what is asked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

from crawler.config import Config
from crawler.errors import ConfigError, HouseError, Occupied
from crawler.secrets import without_secrets
from crawler.settings import dump_toml

Mode = Literal["new", "fresh", "resume"]

FRONTIER = "frontier.db"
"""Its presence says that a folder holds a crawl."""

SAVED = "crawl.toml"
"""The whole effective configuration."""

OURS = (
    FRONTIER, f"{FRONTIER}-wal", f"{FRONTIER}-shm", SAVED, "pages.jsonl", "skipped.jsonl",
    "records.jsonl", "graph.bin", "summary.json", "report.html",
)  # fmt: skip
"""What a crawl writes into its folder; `fresh` removes these and the folders, nothing else."""

FOLDERS = ("html", "text", "warc", "mirror")
"""Where it keeps files of its own, one a page or many a file."""


def prepare(folder: Path, mode: Mode) -> None:
    """Make the folder fit for the mode, or say in one line why it is not."""
    held = (folder / FRONTIER).exists()
    if mode == "resume" and not held:
        raise ConfigError(f"{folder}: holds no crawl to resume")
    if mode == "new" and held:
        raise Occupied(
            f"{folder}: already holds a crawl. Go on with it: crawler resume {folder}. "
            f"Start over: add --fresh"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if mode == "fresh":
            for name in OURS:
                (folder / name).unlink(missing_ok=True)
            for name in FOLDERS:
                shutil.rmtree(folder / name, ignore_errors=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise HouseError(f"{folder}: not writable by user {os.getuid()}")
        shutil.rmtree(folder / "spool", ignore_errors=True)
        (folder / "spool").mkdir()
    except OSError as error:
        raise HouseError(f"{error.filename or folder}: {error.strerror}") from error


def write_config(config: Config, folder: Path) -> None:
    """The settings as they took effect, without passwords, tokens and headers of one's own."""
    path = folder / SAVED
    try:
        path.write_text(dump_toml(without_secrets(config)), encoding="utf-8")
    except OSError as error:
        raise HouseError(f"{path}: {error.strerror}") from error
