"""Records of the admin API's responses: tokens, schedules, audit trail."""

from __future__ import annotations

from typing import Any

import msgspec


class TokenView(msgspec.Struct, frozen=True):
    """A token's name and role. `token` itself is told once, to who made it."""

    name: str
    role: str
    created_at: str | None
    limits: dict[str, int | None]
    token: str | None = None


class TokenList(msgspec.Struct, frozen=True):
    tokens: tuple[TokenView, ...]


class ScheduleView(msgspec.Struct, frozen=True):
    """A job that is made again and again."""

    name: str
    owner: str
    cron: str
    zone: str
    next_at: str
    last_job: str | None
    job: dict[str, Any]


class ScheduleList(msgspec.Struct, frozen=True):
    schedules: tuple[ScheduleView, ...]


class AuditRow(msgspec.Struct, frozen=True):
    """Who changed what, and when."""

    id: int
    at: str
    who: str
    what: str
    target: str
    detail: str


class AuditList(msgspec.Struct, frozen=True):
    audit: tuple[AuditRow, ...]
    next: str | None
