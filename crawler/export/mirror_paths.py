"""The file name of a URL in a mirror. Pure: does not look at other files.

    https://example.com/               example.com/index.html
    https://example.com/docs/a.html    example.com/docs/a.html
    https://example.com/about          example.com/about~.html           (an HTML page)
    https://example.com/style.php      example.com/style.php~.css        (a style sheet)
    http://localhost:8000/a            localhost,http,8000/a~.html
    https://example.com/_static/A.css  example.com/_static/A.css
    https://example.com/p?id=7         example.com/p~id=7~4gkq2vjzx3ma.html
    https://example.com/README         example.com/README~.html
    … where there is /readme too       example.com/README~c2mvx7dq4ysa.html

A name is the URL's own where that is a valid file name; else it contains 60 bits of a hash of the
URL. A folder never has the name of a file (`/a.html/b` is in `a.html_/`); no path leaves the
mirror, is a Windows device, or is longer than 200 characters. `~` marks an added extension: it
tells a browser, which has no Content-Type on disk, what the server said. Two URLs may get the same
name, above all on a file system that folds case: `mirror_index.py` finds these and calls
`to_be_hashed`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final
from urllib.parse import unquote, urlsplit

MAX_PATH: Final = 200
"""Characters of a whole relative path; Windows allows 260 for an absolute path."""

MAX_NAME: Final = 80

EXTENSIONS: Final[dict[str, tuple[str, ...]]] = {
    "text/html": (".html", ".htm"),
    "application/xhtml+xml": (".xhtml", ".html", ".htm"),
    "text/css": (".css",),
    "text/javascript": (".js", ".mjs"),
    "application/javascript": (".js", ".mjs"),
    "application/x-javascript": (".js", ".mjs"),
    "application/json": (".json",),
    "application/manifest+json": (".webmanifest", ".json"),
    "application/xml": (".xml", ".rss", ".atom"),
    "text/xml": (".xml", ".rss", ".atom"),
    "application/rss+xml": (".rss", ".xml"),
    "application/atom+xml": (".atom", ".xml"),
    "text/plain": (".txt", ".md", ".rst", ".log", ".c", ".h", ".py", ".sh", ".csv"),
    "image/svg+xml": (".svg",),
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg"),
    "image/gif": (".gif",),
    "image/webp": (".webp",),
    "image/avif": (".avif",),
    "image/x-icon": (".ico",),
    "image/vnd.microsoft.icon": (".ico",),
    "font/woff2": (".woff2",),
    "font/woff": (".woff",),
    "font/ttf": (".ttf",),
    "font/otf": (".otf",),
    "application/pdf": (".pdf",),
    "video/mp4": (".mp4", ".m4v"),
    "video/webm": (".webm",),
    "audio/mpeg": (".mp3",),
    "application/wasm": (".wasm",),
}
"""Extensions by MIME type. Browsers go by them, and Python's own table varies between machines."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@=,+-]*")
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9._@=,+-]+")
_EXTENSION: Final = re.compile(r"\.[a-z][a-z0-9]{0,11}$", re.IGNORECASE)
_HOST: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)


def mirror_path(url: str, mime: str, *, hashed: bool = False) -> str:
    """The relative path of the copy of `url`, served as `mime`; `/` separates its parts.

    `hashed`: include the URL's hash, so that no other URL has the same path.
    """
    parts = urlsplit(url)
    *folders, leaf = parts.path.split("/")[1:] or [""]
    host, is_plain = _host(parts.scheme, parts.netloc)
    is_plain = is_plain and "?" not in url and all(_is_plain(name) for name in folders)
    stem, extension, added = _split(leaf, mime)
    if leaf:
        is_plain = is_plain and _is_plain(leaf)
    else:
        stem, extension, added = "index", _extensions(mime)[0], False
        # Only an HTML page is the folder's index; all others are told apart by their hash.
        is_plain = is_plain and extension == ".html"
    names = [host, *(_folder(name) for name in folders)]
    tail = ("~" if added else "") + extension
    path = "/".join([*names, stem + tail])
    if is_plain and not hashed and len(path) <= MAX_PATH and len(stem) <= MAX_NAME:
        return path
    query = _sanitize(unquote(parts.query))[:40]
    tail = (f"~{query}" if query else "") + f"~{_hash(url)}{extension}"
    leaf = (_sanitize(unquote(stem)).lstrip(".")[: MAX_NAME - 20] or "index") + tail
    leaf = f"_{leaf}" if _DEVICE.match(leaf) else leaf
    path = "/".join([*names, leaf])
    while len(path) > MAX_PATH and len(names) > 1:
        names.pop()
        path = "/".join([*names, leaf])
    return path


def to_be_hashed(same: Iterable[tuple[str, str]]) -> list[str]:
    """Which of the URLs whose paths are equal on a file system that folds case need a hash. All,
    except one with a lower-case path if it is the only such one or is a folder (`/` beside
    `/index.html`). The result does not depend on the order of the URLs.
    """
    pairs = list(same)
    lower = [url for url, path in pairs if path == path.lower()]
    is_plain = lower if len(lower) == 1 else [url for url in lower if url.endswith("/")]
    return [url for url, _ in pairs if is_plain != [url]]


def _host(scheme: str, netloc: str) -> tuple[str, bool]:
    """The name of the top folder, and whether it is the host's own."""
    name, _, port = netloc.partition(":") if not netloc.startswith("[") else (netloc, "", "")
    is_plain = bool(_HOST.fullmatch(name)) and len(name) <= MAX_NAME and not _DEVICE.match(name)
    name = _sanitize(name)[:MAX_NAME].strip(".") or "host"
    if name in {"index.html", "mirror.db"} or _DEVICE.match(name):
        name, is_plain = f"_{name}", False
    return ",".join([name, *(["http"] if scheme == "http" else []), *([port] if port else [])]), (
        is_plain
    )


def _is_plain(name: str) -> bool:
    """Whether a path segment can be used as a file name unchanged."""
    return (
        bool(_PLAIN.fullmatch(name))
        and not name.endswith(".")
        and len(name) <= MAX_NAME
        and not _DEVICE.match(name)
    )


def _split(leaf: str, mime: str) -> tuple[str, str, bool]:
    """A file's stem, its extension, and whether the extension was added."""
    extensions = _extensions(mime)
    match = _EXTENSION.search(leaf)
    own = match[0].lower() if match else ""
    if own and (own in extensions or mime not in EXTENSIONS):
        return leaf[: -len(own)], own, False
    return leaf, extensions[0], True


def _extensions(mime: str) -> tuple[str, ...]:
    return EXTENSIONS.get(mime, (".bin",))


def _folder(name: str) -> str:
    """The name of a folder, which never looks like a file's."""
    tamed = _sanitize(unquote(name))[:MAX_NAME].strip(".") or "_"
    tamed = f"_{tamed}" if _DEVICE.match(tamed) else tamed
    return f"{tamed}_" if _EXTENSION.search(tamed) else tamed


def _sanitize(text: str) -> str:
    return _NOT_PLAIN.sub("_", text)


def _hash(url: str) -> str:
    digest = blake2b(url.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return base64.b32encode(digest).decode("ascii")[:12].lower()
