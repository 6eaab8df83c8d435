"""Hosts divided among several crawls before they begin: the most that this could bring.

`python -m crawler.bench.apart LIST… -- WORDS…` starts one `crawler crawl -i LIST WORDS` for each
list at once and prints what they said with --json as one array. Nothing is passed on between them:
each is given all pages of its own hosts, and refuses links to the others'. A crawler that divides
hosts must pass those links on (`passing.py`), and knows no host's size before.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from crawler.bench.sizes import Sizes
from crawler.demo.web import Web
from crawler.frontier.redis.codec import shard_of
from crawler.parse.workers.pool import usable_cpus


def parts_of(hosts: int, number: int, *, uneven: bool = False) -> list[list[int]]:
    """Which of the parts has which hosts: all alike, or the first half of all. Pure.

    Uneven stands for a site with half of the pages: its host cannot be divided.
    """
    if not uneven:
        return [list(range(part, hosts, number)) for part in range(number)]
    rest = range(hosts // 2, hosts)
    others = [list(rest[part :: number - 1]) for part in range(number - 1)]
    return [list(range(hosts // 2)), *others]


def written(room: Path, web: Web, number: int, *, uneven: bool = False) -> list[Path]:
    """One list of addresses a part: all pages of its hosts."""
    lists = []
    for part, hosts in enumerate(parts_of(web.hosts, number, uneven=uneven), 1):
        mine = set(hosts)
        path = room / f"{part}.txt"
        urls = (web.url(page) for page in range(web.pages) if page % web.hosts in mine)
        path.write_text("".join(f"{url}\n" for url in urls), "utf-8")
        lists.append(path)
    return lists


def heaviest(sizes: Iterable[int], number: int) -> float:
    """The share of the pages in the fullest of so many parts, when each host goes where the hash of
    its name says, as nobody knows its size before. Pure.
    """
    parts = [0] * number
    for host, pages in enumerate(sizes):
        parts[shard_of(f"host{host}.example", number)] += pages
    return max(parts) / sum(parts)


def imbalance(numbers: Sequence[int] = (2, 4, 8, 16), hosts: int = 100_000) -> str:
    """The table: what dividing by hosts leaves of so many processes, in Markdown."""
    law = list(Sizes(hosts, 100 * hosts).sample(hosts))
    half = [sum(law), *law]
    text = (
        f"\nThe most that dividing {hosts:,} hosts can bring: where one of them has half of the "
        "pages, and where their sizes follow the power law of `make scale`, whose largest has "
        f"{max(law) / sum(law):.0%} (computed):\n\n"
        "| processes | fullest part, one host with half | times faster at most "
        "| fullest part, power law | times faster at most |\n|--:|--:|--:|--:|--:|\n"
    )
    for number in numbers:
        one, two = heaviest(half, number), heaviest(law, number)
        text += f"| {number} | {one:.0%} | {1 / one:.2f} | {two:.0%} | {1 / two:.2f} |\n"
    return text


def beside(commands: Iterable[Sequence[str]]) -> tuple[int, list[bytes]]:
    """Run commands at once, to their ends: the worst exit code, and what each printed."""
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - ours
        for command in commands
    ]
    said = [child.communicate()[0] for child in children]
    return max(child.returncode for child in children), said


def main(arguments: Sequence[str]) -> int:
    """Run them side by side; the worst exit code of theirs."""
    cut = list(arguments).index("--")
    lists, words = arguments[:cut], arguments[cut + 1 :]
    share = max(1, usable_cpus() // len(lists))
    code, said = beside([
        [
            sys.executable, "-m", "crawler", "crawl", "-i", name, "-O", f"{name}.out",
            "--processes", str(share), *words,
        ]
        for name in lists
    ])  # fmt: skip
    if not code:
        sys.stdout.write(msgspec.json.encode([msgspec.Raw(one) for one in said]).decode())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
