"""Threads as most people write them: requests fetches, lxml reads, a queue and a lock between.

`python threads_crawl.py URL CONCURRENCY OUT`; says on its last line how many pages it read and in
how many seconds.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Lock
from urllib.parse import urldefrag, urljoin

import requests
from lxml import html


def main(seed: str, width: int, out: Path) -> None:
    """Crawl to the end."""
    home = "/".join(seed.split("/", 3)[:3]) + "/"
    todo: Queue[str | None] = Queue()
    todo.put(seed)
    seen, lock = {seed}, Lock()
    number = 0
    began = time.monotonic()

    def visit(session: requests.Session, url: str) -> None:
        nonlocal number
        answer = session.get(url, timeout=60, allow_redirects=False)
        if answer.status_code != 200 or "html" not in answer.headers.get("Content-Type", ""):
            return
        tree = html.fromstring(answer.content)
        hrefs = {str(href) for href in tree.xpath("//a/@href")}
        found = {urldefrag(urljoin(url, href))[0] for href in hrefs}
        title = tree.findtext(".//title") or ""
        line = json.dumps({"url": url, "status": 200, "title": title, "links": len(hrefs)})
        with lock:
            number += 1
            file.write(line + "\n")
            new = [one for one in found if one.startswith(home) and one not in seen]
            seen.update(new)
        for one in new:
            todo.put(one)

    def work() -> None:
        with requests.Session() as session:
            while (url := todo.get()) is not None:
                try:
                    visit(session, url)
                finally:
                    todo.task_done()

    with out.open("w", encoding="utf-8") as file, ThreadPoolExecutor(width) as pool:
        workers = [pool.submit(work) for _ in range(width)]
        todo.join()
        for _ in workers:
            todo.put(None)
        for worker in workers:
            worker.result()
    sys.stdout.write(f"{number} {time.monotonic() - began:.3f}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
