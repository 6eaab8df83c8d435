"""Detects crawler traps, with its memory in the frontier's file. Rules: `policy/trap_rules.py`.

Runs on the frontier's thread, inside the store's transactions: what the pages of a template taught
is committed with the pages themselves, so a killed crawl brakes where an undisturbed one would.
"""

from __future__ import annotations

import logging
import sqlite3

import msgspec

from crawler.config.model import ScopeConfig
from crawler.frontier.sqlite.seen_index import SeenIndex
from crawler.policy.trap_rules import TrapJudge, UrlTemplate, shape_trap, without_session
from crawler.policy.urls import fingerprint
from crawler.records import CrawlResult, Kind, Outcome

log = logging.getLogger(__name__)


class TrapDetector:
    """Asked for every link that looks new, told of every page. With trap = off it does nothing."""

    def __init__(self, rules: ScopeConfig) -> None:
        self._rules = rules
        self._warns = rules.trap == "warn"
        self._warned: set[str] = set()
        self._brake = TrapJudge(rules, self._recall)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(UrlTemplate)
        self._db: sqlite3.Connection
        self._keys: SeenIndex
        self.off = rules.trap == "off"

    def open(self, db: sqlite3.Connection, keys: SeenIndex) -> None:
        self._db = db
        self._keys = keys
        row = db.execute("SELECT 1 FROM trap WHERE reason != '' LIMIT 1").fetchone()
        self._brake.engaged = row is not None

    @property
    def engaged(self) -> bool:
        """Whether links that are queued already may have to be parked."""
        return self._brake.engaged and not self._warns and not self.off

    def judge(self, url: str, host: str, via: str | None) -> str:
        """Why a link that was just found is to be parked; nothing: let it go."""
        if self.off:
            return ""
        reason = self._brake.judge(url, via) or self._session(url, host)
        if not self._warns:
            return reason
        rules = self._rules
        self._warn(
            reason
            or shape_trap(url, max_segments=rules.max_segments, max_repeats=rules.max_repeats),
            url,
        )
        return ""

    def judge_again(self, url: str, via: str | None) -> str:
        """The same for a link that was queued before its template was braked."""
        return self._brake.judge(url, via)

    def found(self, url: str, host: str) -> bool:
        """A new link was queued. True when queued links have to be judged again."""
        if self.off:
            return False
        bare = without_session(url)
        if bare is not None:
            self._db.execute("INSERT OR IGNORE INTO bare VALUES (?)", (fingerprint(bare, host),))
        return self._brake.found(url)

    def promises(self, url: str, parent: str | None) -> bool:
        """Whether a new link makes the page it was found on worth having been visited."""
        return not self.off and parent is not None and self._brake.promises(url, parent)

    def shows(self, parent: str | None) -> bool:
        """Whether a new image, style or script makes its page worth having been visited."""
        return not self.off and parent is not None and self._brake.shows(parent)

    def learn(self, visit: CrawlResult, *, fruitful: bool) -> bool:
        """A page was visited. True when queued links have to be judged again."""
        link, extract = visit.link, visit.extract
        if self.off or extract is None or visit.outcome is not Outcome.DONE:
            return False
        if link.kind is not Kind.PAGE:
            return False
        copied = visit.duplicate_of is not None
        braked = self._brake.learn(
            link.url, link.via, extract.simhash, copied=copied, fruitful=fruitful
        )
        if braked:
            log.log(
                logging.WARNING if self._warns else logging.INFO,
                "a trap, it seems: the last %d pages like %s brought nothing new%s",
                self._rules.trap_patience, link.url, "" if self._warns else "; braked",
            )  # fmt: skip
        return braked

    def save(self) -> None:
        """Keep what was learned; inside the transaction of the pages that taught it."""
        changed = self._brake.changed
        if changed:
            self._db.executemany(
                "INSERT OR REPLACE INTO trap VALUES (?, ?, ?)",
                [(one.name, one.reason, self._encoder.encode(one)) for one in changed.values()],
            )
            changed.clear()

    def clear(self) -> None:
        """Forget what was not kept: its transaction was rolled back."""
        self._brake.forget()

    def _session(self, url: str, host: str) -> str:
        """The same page under another session identifier is no other page."""
        bare = without_session(url)
        if bare is None:
            return ""
        key = fingerprint(bare, host)
        if self._db.execute("SELECT 1 FROM bare WHERE key = ?", (key,)).fetchone():
            return "trap:session"
        return "trap:session" if self._keys.find([key]) else ""

    def _recall(self, name: str) -> UrlTemplate | None:
        row = self._db.execute("SELECT state FROM trap WHERE name = ?", (name,)).fetchone()
        return self._decoder.decode(row[0]) if row else None

    def _warn(self, reason: str, url: str) -> None:
        word = f"{reason} {url.split('/', 3)[2]}"
        if reason and word not in self._warned and len(self._warned) < 1000:
            self._warned.add(word)
            log.warning("%s: would be parked, but trap = warn: %s", reason, url)
