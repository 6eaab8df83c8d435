"""A race: two threads, one set of what was seen, and no lock. Then the cure.

"Is it new?" and "remember it" are two steps. Between them another thread may ask the same question
and get the same answer: the page is fetched twice. A race needs bad luck; to show it every time,
this set makes its own: whoever has looked waits until another has looked too.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier, BrokenBarrierError, Lock


class UnluckySet(set[str]):
    """Answers "is it in here?" only when two have asked, or after a moment of waiting in vain."""

    def __init__(self, moment: float) -> None:
        super().__init__()
        self._asked, self._moment = Barrier(2), moment

    def __contains__(self, url: object) -> bool:
        known = super().__contains__(url)
        try:
            self._asked.wait(self._moment)
        except BrokenBarrierError:  # nobody else could ask: somebody holds the lock
            self._asked.reset()
        return known


def crawl(lock: Lock | None) -> list[str]:
    """Two threads find a link to one page; what each then fetches."""
    seen = UnluckySet(moment=5.0 if lock is None else 0.05)
    fetched: list[str] = []

    def follow(url: str) -> None:
        with lock or nullcontext():
            new = url not in seen
            if new:
                seen.add(url)
        if new:
            fetched.append(url)

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(follow, "/same-page") for _ in range(2)]:
            done.result()
    return fetched


if __name__ == "__main__":
    print("without a lock, fetched:", crawl(None))
    print("with a lock, fetched:   ", crawl(Lock()))
