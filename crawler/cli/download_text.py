"""A download's state in one plain line."""

from __future__ import annotations

from crawler.bootstrap.download_progress import DownloadProgress
from crawler.cli.formatting import amount, counted, duration, size


def line(state: DownloadProgress) -> str:
    """The state of things in one plain line."""
    eta = f", {duration(state.eta)} left" if state.eta is not None else ""
    return (
        f"[{duration(state.elapsed)}] {counted(state.done, 'file')}, {size(state.bytes)} "
        f"({size(state.rate)}/s{eta}), {len(state.running)} running, "
        f"{amount(state.waiting)} waiting, {amount(state.failed)} failed"
    )
