"""The error tree. Foreign exceptions are mapped into it once, at the border where they appear.

CrawlerError
├─ ConfigError              bad settings, before anything opens           exit 2
├─ FetchError               one exchange failed: becomes a CrawlResult, never ends a crawl
│  ├─ Unresolved            the name has no address
│  ├─ Unreachable           no connection, or it broke
│  │  └─ Insecure           TLS was refused
│  ├─ TimedOut              a phase took longer than it may
│  ├─ Truncated             the body ended before its length
│  ├─ TooLarge              more bytes than allowed, on the wire or decoded
│  ├─ ProtocolError         not HTTP, or not what the headers claim
│  ├─ FileMismatch          a file's bytes are not those that were asked for
│  ├─ ServerBusy            429, 503 …: come back later
│  ├─ Forbidden             an address, port or scheme that is not visited
│  └─ LeaseLost             the link went to another worker before it was sent
├─ ParseError               one page failed: becomes a CrawlResult, never ends a crawl
└─ FatalError               ends the crawl, resumable                     exit 3
   ├─ FrontierError         FrontierLost: its file is gone or damaged
   ├─ SinkError             SinkLost: the file is gone
   ├─ FolderLocked          the folder holds a crawl, or another process has it
   └─ InternalError         a contradiction inside the crawler: a bug     exit 1
"""

from __future__ import annotations

from typing import Any


class CrawlerError(Exception):
    """Anything this program says no with. `str(error)` is one line fit for a person."""


class ConfigError(CrawlerError):
    """A flag, key, file or URL given by the person is not usable; the message names it."""


class FetchError(CrawlerError):
    """The road failed. `reason` is the machine-readable word a Visit records."""

    reason = "fetch"

    def __init__(self, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(detail or self.reason)
        self.detail = detail
        self.retry_after = retry_after  # seconds the server asked for; None: it did not say
        self.page: Any = None  # the Page of what came, where an answer broke off

    def take_page(self) -> Any:
        """The Page of what came; who takes it removes its body's file. None: nothing came."""
        page, self.page = self.page, None
        return page

    @property
    def cause(self) -> str:
        """As a Visit records it: the word, and after a colon the detail where there is one."""
        return f"{self.reason}:{self.detail}" if self.detail else self.reason

    @property
    def before_asking(self) -> bool:
        """The host was not reached or dropped us: whatever else is asked of it fails alike."""
        return False


class Unresolved(FetchError):
    """The host name has no address."""

    reason = "dns"

    @property
    def before_asking(self) -> bool:
        """Always."""
        return True


class Unreachable(FetchError):
    """No connection could be made, or it broke before a complete answer."""

    reason = "connection"

    @property
    def before_asking(self) -> bool:
        """Always."""
        return True


class Insecure(Unreachable):
    """TLS refused: certificate, host name or protocol."""

    reason = "tls"


class TimedOut(FetchError):
    """A phase (dns, connect, first-byte, idle, total) took too long; `detail` names it."""

    reason = "timeout"

    @property
    def before_asking(self) -> bool:
        """In the first two phases: later there was a connection."""
        return self.detail in {"dns", "connect"}


class Truncated(FetchError):
    """The body ended before its announced length."""

    reason = "truncated"


class TooLarge(FetchError):
    """More bytes than allowed, on the wire or after decoding."""

    reason = "too-large"


class ProtocolError(FetchError):
    """What came is not HTTP, or its encoding is broken."""

    reason = "garbled"


class FileMismatch(FetchError):
    """Not the file that was asked for: another length, checksum or type, or one that changed."""

    reason = "mismatch"


class ServerBusy(FetchError):
    """The server asks for patience (429, 503 and the like); `detail` is the status."""

    reason = "status"


class UnwantedType(FetchError):
    """The answer's content type is not one that this crawl reads; the body was not."""

    reason = "mime"


class Forbidden(FetchError):
    """An address, port or scheme that this crawl does not go to."""

    reason = "forbidden"

    @property
    def before_asking(self) -> bool:
        """Always."""
        return True


class LeaseLost(FetchError):
    """The link is no longer this worker's to visit: nothing was sent, or its answer is dropped."""

    reason = "lease"


SPOOL = "spool"
"""A ParseError's reason that is no page's fault: the crawl's own disk could not be written."""


class ParseError(CrawlerError):
    """The page could not be read. `reason` is one of deadline, memory, crash, plugin, decode …"""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ParseError], tuple[str, str]]:
        return type(self), (self.reason, self.detail)


class FatalError(CrawlerError):
    """The crawl cannot go on, but nothing is lost: it can be resumed, unless `lost`."""

    lost = False
    """Whether what was kept is gone or damaged: the message says what can be done."""


class FrontierError(FatalError):
    """The frontier cannot be read or written."""


class FrontierLost(FrontierError):
    """Its file is damaged, or not where it was while it was written."""

    lost = True


class SinkError(FatalError):
    """An output cannot be written."""


class SinkLost(SinkError):
    """An output is not where it was while it was written."""

    lost = True


class FolderLocked(FatalError):
    """The folder already holds a crawl, or another process is using it."""


class InternalError(FatalError):
    """The crawler contradicts itself, so it cannot go on: a bug. The message names the figures.

    What was done is kept; a resumed crawl counts anew from what is stored.
    """
