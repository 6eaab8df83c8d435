"""How to find out what a program does when it seems to do nothing, or too much.

1. asyncio's debug mode names the callback that held the loop (`loop.slow_callback_duration`), and
   the coroutine that was never awaited.
2. `task.print_stack()` shows where a task waits; all tasks: `asyncio.all_tasks()`.
3. `faulthandler.register(SIGUSR1)` prints the stack of every thread of a running program on
   `kill -USR1 PID`, however busy or deadlocked it is.
4. From outside, with nothing prepared: `py-spy dump --pid PID`, `py-spy top --pid PID`.
"""

from __future__ import annotations

import asyncio
import faulthandler
import io
import logging
import os
import signal
import sys
import time


async def parse_in_the_loop() -> None:
    """Hold the loop for longer than debug mode lets pass."""
    time.sleep(0.15)  # stands for CPU work


async def wait_for_an_answer(answer: asyncio.Event) -> None:
    """Wait for what never comes."""
    await answer.wait()


async def main() -> None:
    """Show all of it once."""
    asyncio.get_running_loop().slow_callback_duration = 0.1
    await asyncio.create_task(parse_in_the_loop(), name="reader")

    stuck = asyncio.create_task(wait_for_an_answer(asyncio.Event()), name="fetcher")
    await asyncio.sleep(0)
    told = io.StringIO()
    stuck.print_stack(file=told)
    print(told.getvalue(), end="")
    stuck.cancel()

    faulthandler.register(signal.SIGUSR1, file=sys.stdout, all_threads=True)
    os.kill(os.getpid(), signal.SIGUSR1)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(name)s: %(message)s")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    asyncio.run(main(), debug=True)
