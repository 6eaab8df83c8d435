"""What the fork server loads before it forks: the reader, once for all parse processes.

What is loaded stays. Nobody searches it for reference cycles: not while it loads, not in the
processes (a search writes to what they share with the server), not when the server ends (13 ms).
"""

from __future__ import annotations

import gc

gc.disable()
import crawler.parse.workers.parse_worker  # noqa: E402, F401 - for its own sake, with the collector off

gc.enable()
gc.freeze()
