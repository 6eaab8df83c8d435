-- Schema of the service's database DIR/jobs.db. A crawl's progress is not here: it is in the frontier
-- of the job's own folder, DIR/jobs/ID.

CREATE TABLE job (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    owner      TEXT NOT NULL,           -- name of a token; "local" when there are none
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL DEFAULT '',
    config     TEXT NOT NULL,           -- JSON, the effective configuration
    webhooks   TEXT NOT NULL,           -- JSON
    created_at REAL NOT NULL,           -- Unix times
    started_at REAL,
    ended_at   REAL,
    runs       INTEGER NOT NULL DEFAULT 0,
    schedule   TEXT,                    -- name of the schedule that created it
    totals     TEXT NOT NULL DEFAULT '{}',
    key        TEXT,                    -- Idempotency-Key of its request
    files      TEXT,                    -- JSON, the requests of a download; NULL: it is a crawl
    UNIQUE (owner, key)
);

CREATE INDEX job_open ON job (state) WHERE state NOT IN ('finished', 'failed', 'cancelled');

CREATE TABLE event (                    -- one row per state change; SSE uses the id as Last-Event-ID
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    job    TEXT NOT NULL,
    at     REAL NOT NULL,
    state  TEXT NOT NULL,
    reason TEXT NOT NULL
);

CREATE INDEX event_job ON event (job, id);

CREATE TABLE delivery (                 -- webhook messages not delivered yet
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    event   INTEGER NOT NULL,
    job     TEXT NOT NULL,
    url     TEXT NOT NULL,
    secret  TEXT,
    body    TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    due     REAL NOT NULL
);

CREATE TABLE token (
    name       TEXT PRIMARY KEY,
    hash       BLOB NOT NULL UNIQUE,    -- SHA-256 of the token: 256 random bits need no salt
    role       TEXT NOT NULL,
    limits     TEXT NOT NULL,           -- JSON
    created_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE schedule (
    name       TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    cron       TEXT NOT NULL,
    zone       TEXT NOT NULL,
    request    TEXT NOT NULL,           -- JSON, a job's body
    next_at    REAL NOT NULL,
    last_job   TEXT,
    created_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE audit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     REAL NOT NULL,
    who    TEXT NOT NULL,
    what   TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL
);
