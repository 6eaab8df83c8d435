"""The link graph in formats of graph tools: an edge list, or GraphML."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from crawler.config.workdir import FRONTIER
from crawler.export.columns import links
from crawler.export.output_file import TextOutput, open_output
from crawler.export.xml_text import replace_invalid
from crawler.frontier.sqlite.lookup import FrontierReader
from crawler.frontier.sqlite.statements import STATES


def write_edges(folder: Path, path: Path) -> int:
    """Write a line `source<TAB>target` per edge, as networkx and igraph read it; returns the number
    of edges.

    A canonical URL contains no tab, space or newline.
    """
    number = 0
    with open_output(path) as raw:
        file = TextOutput(raw)
        for number, row in enumerate(links(folder).rows(), 1):  # noqa: B007 - counted
            file.write(f"{row['source']}\t{row['target']}\n")
    return number


def write_graphml(folder: Path, path: Path) -> int:
    """Write every URL as a node with state, status and depth, and every link as an edge with its
    kind; returns the number of edges.
    """
    table = links(folder)
    number = 0
    with open_output(path) as raw, FrontierReader(folder / FRONTIER) as reader:
        file = TextOutput(raw)
        file.write(_GRAPHML_HEADER)
        for url, state, status, depth in reader.rows("SELECT url, state, status, depth FROM link"):
            file.write(f'<node id="{_escape(url)}"><data key="state">{STATES[state]}</data>')
            if status is not None:
                file.write(f'<data key="status">{status}</data>')
            file.write(f'<data key="depth">{depth}</data></node>\n')
        for number, row in enumerate(table.rows(), 1):  # noqa: B007 - counted
            file.write(
                f'<edge source="{_escape(row["source"])}" target="{_escape(row["target"])}">'
                f'<data key="kind">{row["kind"]}</data></edge>\n'
            )
        file.write("</graph></graphml>\n")
    return number


_GRAPHML_HEADER = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="state" for="node" attr.name="state" attr.type="string"/>
<key id="status" for="node" attr.name="status" attr.type="int"/>
<key id="depth" for="node" attr.name="depth" attr.type="int"/>
<key id="kind" for="edge" attr.name="kind" attr.type="string"/>
<graph edgedefault="directed">
"""


def _escape(text: str) -> str:
    return escape(replace_invalid(text), {'"': "&quot;"})
