"""Tables made fit for Markdown, which has rows of as many cells each, and no blocks in them.

turbohtml writes any other table as HTML, attributes and all; a text has none of that.
"""

from __future__ import annotations

from typing import Final

import turbohtml

_CELLS: Final = frozenset({"td", "th"})
_LAYOUT: Final = "h1,h2,h3,h4,h5,h6,pre,blockquote,table"
"""What no cell of a table of data has."""

MAX_PADDING: Final = 4
"""Cells that a table may be given, for each that it has; a more ragged one is no table of data."""


def make_plain(root: turbohtml.Element) -> None:
    """Tables that arrange a page become plain blocks, the others get rows of one length."""
    tables = root.select("table")
    rows: dict[turbohtml.Element, list[list[turbohtml.Element]]] = {}
    if root.tag in _CELLS or not tables:
        return
    for row in root.select("tr"):
        if (table := row.closest("table")) is not None:
            cells = [one for one in row.children if isinstance(one, turbohtml.Element)]
            rows.setdefault(table, []).append([one for one in cells if one.tag in _CELLS])
    layout = {
        table
        for node in root.select(_LAYOUT)
        if isinstance(inside := node.parent, turbohtml.Element)
        and (table := inside.closest("table")) is not None
    }
    for table in tables:
        own = rows.get(table, [])
        width = max(map(len, own), default=0)
        padding = width * len(own) - sum(map(len, own))
        arranged = (table.attr("role") or "") in {"presentation", "none"}
        if table in layout or width < 2 or arranged or padding > MAX_PADDING * sum(map(len, own)):
            _flatten(table)
            continue
        for row_cells in own:
            for cell in row_cells:
                for span in ("colspan", "rowspan"):
                    if cell.attr(span) is not None:
                        del cell.attrs[span]
            line = row_cells[0].parent if row_cells else None
            if isinstance(line, turbohtml.Element):
                for _ in range(width - len(row_cells)):
                    line.append(turbohtml.E.td())


def _flatten(table: turbohtml.Element) -> None:
    """The table and what it is made of become blocks; tables inside it stay."""
    for node in table.select("tr,td,th,thead,tbody,tfoot,caption,colgroup"):
        if node.closest("table") == table:
            node.tag = "div"
    table.tag = "div"
