"""The crawl's folder: what lies in it, and whether it is fit for what is asked."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from pathlib import Path
from typing import Literal

import msgspec

from crawler.config.loader import dump_toml, marked
from crawler.config.model import Config
from crawler.config.redaction import without_secrets
from crawler.errors import ConfigError, FatalError, FolderLocked
from crawler.utils.no_symlinks import refuse_link

Mode = Literal["new", "fresh", "resume"]

FRONTIER = "frontier.db"
"""Its presence says that a folder holds a crawl."""

CRASH = "frontier.crash"
"""Where the fault handler of a run writes; empty unless a signal of its own ended it."""

WORKER = "worker.json"
"""Its presence says that a folder holds one worker's share of a crawl on many machines."""

LOOPS = "loops.json"
"""Its presence says that a folder holds a crawl of several loops, each with its share in SHARES."""

SHARES = "loops"
"""One folder a loop, and one for the server that has their queue."""

SAVED = "crawl.toml"
"""The whole effective configuration."""

OURS = (
    FRONTIER, f"{FRONTIER}-wal", f"{FRONTIER}-shm", "frontier.hand", CRASH, SAVED, WORKER, LOOPS,
    "pages.jsonl", "skipped.jsonl", "records.jsonl", "graph.bin", "summary.json", "report.html",
    f".{SAVED}.new",
)  # fmt: skip
"""What a crawl writes into its folder; `fresh` removes these and the folders, nothing else."""

LOCK = "frontier.lock"
"""Held by the process that crawls into the folder."""

FOLDERS = ("html", "text", "warc", "mirror", SHARES)
"""Where it keeps files of its own, one a page or many a file."""


def is_crawl(folder: Path) -> bool:
    """Whether there is something to resume."""
    return any((folder / name).exists() for name in (FRONTIER, WORKER, LOOPS))


def prepare(folder: Path, mode: Mode) -> None:
    """Make the folder fit for the mode, or say in one line why it is not."""
    held = is_crawl(folder)
    if mode == "resume" and not held:
        raise ConfigError(f"{folder}: holds no crawl to resume")
    if mode == "new" and held:
        raise FolderLocked(
            f"{folder}: already holds a crawl. Go on with it: crawler resume {folder}. "
            f"Start over: add --fresh"
        )
    if mode == "resume":
        _refuse_emptied(folder)
    if mode == "new" and _size(folder / "pages.jsonl"):
        raise FolderLocked(
            f"{folder}: has the pages.jsonl of a crawl whose {FRONTIER} is gone: put that back, "
            f"or take another folder. Start over: add --fresh"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if mode == "fresh":
            for name in OURS:
                (folder / name).unlink(missing_ok=True)
            for name in FOLDERS:
                shutil.rmtree(folder / name, ignore_errors=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise FatalError(f"{folder}: not writable by user {os.getuid()}")
        for name in (*OURS, *FOLDERS, LOCK, "spool"):
            refuse_link(folder / name)
        for path in (folder / "warc").glob("*"):
            refuse_link(path)
        shutil.rmtree(folder / "spool", ignore_errors=True)
        (folder / "spool").mkdir()
    except OSError as error:
        raise FatalError(f"{error.filename or folder}: {error.strerror}") from error


def _refuse_emptied(folder: Path) -> None:
    """Raise FatalError where the frontier has no byte and records are there that it must have
    known: a new frontier would cut them off.
    """
    path = folder / FRONTIER
    size = _size(folder / "pages.jsonl")
    if size and path.exists() and not _size(path):
        raise FatalError(
            f"{path}: was emptied, but pages.jsonl has {size} bytes: put a copy back, or start "
            f"over: crawler crawl … --fresh"
        )


def _size(path: Path) -> int:
    """In bytes; 0 where there is no such file, or no folder that could have it."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from error


def write_config(config: Config, folder: Path) -> None:
    """The settings as they took effect, without passwords, tokens and headers of one's own."""
    path = folder / SAVED
    new = folder / f".{SAVED}.new"
    try:
        new.unlink(missing_ok=True)
        with new.open("x", encoding="utf-8") as file:
            file.write(marked(dump_toml(without_secrets(config))))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)  # at no instant is there half a file
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from error


def worker_id(folder: Path, job: str) -> str:
    """Who works into this folder, by a name that no other worker has; given once, and kept.

    Raises ConfigError when the folder holds another job's share.
    """
    path = folder / WORKER
    try:
        if path.exists():
            known = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
            if known.get("job") != job:
                raise ConfigError(f"{folder}: holds a share of the job {known.get('job')!r}")
            return known["worker"]
        name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        path.write_bytes(msgspec.json.encode({"worker": name, "job": job}))
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, KeyError) as error:
        raise FatalError(f"{path}: not what a worker writes there") from error
    return name
