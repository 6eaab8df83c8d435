"""Why the loop must not parse: while it does, nobody else is served. Measured by a metronome.

The metronome asks to be woken every 10 ms and notes how late it was. A page that burns 200 ms in
the loop makes it 200 ms late, and with it every timeout, every other answer, every Ctrl-C.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ProcessPoolExecutor

BURN = 0.2  # seconds that the heavy page takes


def read_heavy_page() -> None:
    """Stands for a page of some megabytes."""
    until = time.monotonic() + BURN
    while time.monotonic() < until:
        pass


async def metronome(late: list[float]) -> None:
    """How late each tick was, in milliseconds."""
    while True:
        due = time.monotonic() + 0.01
        await asyncio.sleep(0.01)
        late.append((time.monotonic() - due) * 1000)


async def crawl(pool: ProcessPoolExecutor | None) -> float:
    """Read three heavy pages, in the loop (None) or in the pool; the worst lateness."""
    late: list[float] = []
    ticking = asyncio.create_task(metronome(late))
    for _ in range(3):
        await asyncio.sleep(0.03)
        if pool is None:
            read_heavy_page()
        else:
            await asyncio.get_running_loop().run_in_executor(pool, read_heavy_page)
    await asyncio.sleep(0.03)
    ticking.cancel()
    return max(late)


if __name__ == "__main__":
    print(f"read in the loop:    the loop woke up to {asyncio.run(crawl(None)):.0f} ms late")
    with ProcessPoolExecutor(1) as pool:
        pool.submit(int).result()  # the process is up
        print(f"read in a process:   the loop woke up to {asyncio.run(crawl(pool)):.0f} ms late")
