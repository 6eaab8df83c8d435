"""Divide hosts among several crawls before they begin: the upper bound of what this can gain.

`python -m benchmarks.divided_hosts LIST… -- FLAGS…` starts one `crawler crawl -i LIST FLAGS` for
each list, all at once, and prints their --json output as one array. They exchange no links: each
gets all pages of its own hosts and refuses links to other hosts. A real crawler that divides hosts
must hand those links over (`link_handover.py`) and does not know the hosts' sizes in advance.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from benchmarks.site_sizes import Sizes
from crawler.demo.web import Web
from crawler.frontier.redis.codec import shard_of
from crawler.parse.workers.pool import usable_cpus


def split_hosts(hosts: int, number: int, *, uneven: bool = False) -> list[list[int]]:
    """Which of the parts has which hosts: all alike, or the first half of all. Pure.

    Uneven stands for a site with half of the pages: its host cannot be divided.
    """
    if not uneven:
        return [list(range(part, hosts, number)) for part in range(number)]
    rest = range(hosts // 2, hosts)
    others = [list(rest[part :: number - 1]) for part in range(number - 1)]
    return [list(range(hosts // 2)), *others]


def write_lists(folder: Path, web: Web, number: int, *, uneven: bool = False) -> list[Path]:
    """One list of addresses a part: all pages of its hosts."""
    lists = []
    for part, hosts in enumerate(split_hosts(web.hosts, number, uneven=uneven), 1):
        mine = set(hosts)
        path = folder / f"{part}.txt"
        urls = (web.url(page) for page in range(web.pages) if page % web.hosts in mine)
        path.write_text("".join(f"{url}\n" for url in urls), "utf-8")
        lists.append(path)
    return lists


def largest_share(sizes: Iterable[int], number: int) -> float:
    """The largest share of the pages among `number` parts when hosts are assigned by the hash of
    their names, because their sizes are not known in advance. Pure.
    """
    parts = [0] * number
    for host, pages in enumerate(sizes):
        parts[shard_of(f"host{host}.example", number)] += pages
    return max(parts) / sum(parts)


def imbalance_table(numbers: Sequence[int] = (2, 4, 8, 16), hosts: int = 100_000) -> str:
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
        one, two = largest_share(half, number), largest_share(law, number)
        text += f"| {number} | {one:.0%} | {1 / one:.2f} | {two:.0%} | {1 / two:.2f} |\n"
    return text


def run_together(commands: Iterable[Sequence[str]]) -> tuple[int, list[bytes]]:
    """Run commands at once, to their ends: the worst exit code, and what each printed."""
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - ours
        for command in commands
    ]
    output = [child.communicate()[0] for child in children]
    return max(child.returncode for child in children), output


def main(arguments: Sequence[str]) -> int:
    """Run them side by side; the worst exit code of theirs."""
    cut = list(arguments).index("--")
    lists, words = arguments[:cut], arguments[cut + 1 :]
    share = max(1, usable_cpus() // len(lists))
    code, output = run_together([
        [
            sys.executable, "-m", "crawler", "crawl", "-i", name, "-O", f"{name}.out",
            "--processes", str(share), *words,
        ]
        for name in lists
    ])  # fmt: skip
    if not code:
        sys.stdout.write(msgspec.json.encode([msgspec.Raw(one) for one in output]).decode())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
