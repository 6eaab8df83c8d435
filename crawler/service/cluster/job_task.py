"""The state of one job on a worker."""

from __future__ import annotations

from collections import Counter

from crawler.engine.running_crawl import RunningCrawl


class JobTask:
    """One job that this worker runs. `turn` is the id of the order that started it."""

    def __init__(self, turn: str) -> None:
        self.turn = turn
        self.crawl: RunningCrawl | None = None
        self.name = ""  # of this worker, in the job
        self.stop_reason = ""
        self.reported: Counter[str] = Counter()  # already added to the job's sums

    def stop(self, reason: str) -> None:
        """Ask the crawl to end; "cancelled" also after another reason. Idempotent."""
        if self.stop_reason in {reason, "cancelled"}:
            return
        self.stop_reason = reason
        if self.crawl is None:
            return
        if reason == "cancelled":
            self.crawl.abort()
        else:
            self.crawl.stop(reason)

    def new_sums(self) -> dict[str, int]:
        """Figures that were not reported yet: `status:CODE` and `bytes`."""
        if self.crawl is None:
            return {}
        stats = self.crawl.tally
        now = Counter({f"status:{code}": number for code, number in stats.statuses.items()})
        now["bytes"] = stats.bytes_wire
        return dict(now - self.reported)
