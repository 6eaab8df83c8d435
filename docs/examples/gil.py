"""What the GIL does to parsing: the same pages read by one thread, two threads, two processes.

Run it on a machine with two free cores:  python docs/examples/gil.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

from bs4 import BeautifulSoup
from selectolax.lexbor import LexborHTMLParser

PAGE = "<html><title>A page</title>" + "<p>words, and <a href=/x>a link</a></p>" * 2000


def lexbor(html: str) -> int:
    """The links, by a parser in C that holds the GIL while it builds Python strings."""
    return len([node.attributes["href"] for node in LexborHTMLParser(html).css("a[href]")])


def soup(html: str) -> int:
    """The links, by a parser in Python: it holds the GIL all the time."""
    return len([a["href"] for a in BeautifulSoup(html, "html.parser").find_all("a", href=True)])


def seconds(parse: Callable[[str], int], pages: int, pool: Executor) -> float:
    """To read so many pages, the pool's workers started and warm."""
    list(pool.map(parse, [PAGE] * 4))
    began = time.perf_counter()
    assert sum(pool.map(parse, [PAGE] * pages)) == 2000 * pages
    return time.perf_counter() - began


def main(pages: int) -> None:
    """Print how much faster two are than one."""
    for parse, number in ((lexbor, pages * 20), (soup, pages)):
        with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(2) as two:
            alone = seconds(parse, number, one)
            threads = seconds(parse, number, two)
        with ProcessPoolExecutor(2) as pool:
            processes = seconds(parse, number, pool)
        print(
            f"{parse.__name__}: one thread {number / alone:.0f} pages/s, "
            f"two threads x{alone / threads:.2f}, two processes x{alone / processes:.2f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
