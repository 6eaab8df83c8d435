"""The link graph in the forms that graph tools read: an edge list, or GraphML."""

from __future__ import annotations

import re
from pathlib import Path
from xml.sax.saxutils import escape

from crawler.config.workdir import FRONTIER
from crawler.export.columns import links
from crawler.export.output_file import TextOutput, output
from crawler.frontier.sqlite.lookup import FrontierReader
from crawler.frontier.sqlite.statements import STATES


def write_edges(folder: Path, path: Path) -> int:
    """`source<TAB>target` a line, as networkx and igraph read it; the number of edges.

    A canonical URL has no tab, space or newline in it.
    """
    number = 0
    with output(path) as raw:
        file = TextOutput(raw)
        for number, row in enumerate(links(folder).rows(), 1):  # noqa: B007 - counted
            file.write(f"{row['source']}\t{row['target']}\n")
    return number


def write_graphml(folder: Path, path: Path) -> int:
    """Every URL seen as a node with state, status, depth; every link as an edge with its kind."""
    table = links(folder)
    number = 0
    with output(path) as raw, FrontierReader(folder / FRONTIER) as book:
        file = TextOutput(raw)
        file.write(_HEAD)
        for url, state, status, depth in book.rows("SELECT url, state, status, depth FROM link"):
            file.write(f'<node id="{_xml(url)}"><data key="state">{STATES[state]}</data>')
            if status is not None:
                file.write(f'<data key="status">{status}</data>')
            file.write(f'<data key="depth">{depth}</data></node>\n')
        for number, row in enumerate(table.rows(), 1):  # noqa: B007 - counted
            file.write(
                f'<edge source="{_xml(row["source"])}" target="{_xml(row["target"])}">'
                f'<data key="kind">{row["kind"]}</data></edge>\n'
            )
        file.write("</graph></graphml>\n")
    return number


_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="state" for="node" attr.name="state" attr.type="string"/>
<key id="status" for="node" attr.name="status" attr.type="int"/>
<key id="depth" for="node" attr.name="depth" attr.type="int"/>
<key id="kind" for="edge" attr.name="kind" attr.type="string"/>
<graph edgedefault="directed">
"""

_ODD = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 §2.2 does not allow."""


def _xml(text: str) -> str:
    return escape(_ODD.sub("�", text), {'"': "&quot;"})
