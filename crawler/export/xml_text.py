"""Text for XML documents."""

from __future__ import annotations

import re
from typing import Final

_INVALID: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 §2.2 does not allow."""


def replace_invalid(text: str) -> str:
    """The text with each character that XML does not allow replaced by U+FFFD."""
    return _INVALID.sub("�", text)
