-- The frontier's tables. `link` grows in the order of discovery; the two partial indexes hold only
-- what is still to do. `state` and `kind` are numbers from crawler/frontier/sqlite/statements.py.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;

CREATE TABLE mark (                     -- how long each output was at the last commit
    sink   TEXT PRIMARY KEY,
    length INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE host (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,    -- politeness key
    rest_until REAL NOT NULL DEFAULT 0, -- Unix time; Retry-After and back-off survive a restart
    address    TEXT                     -- as an answer showed it, where hosts are grouped by it
);

CREATE TABLE rest (                     -- why a host rests; files of earlier releases have none
    host INTEGER PRIMARY KEY,
    why  TEXT NOT NULL,                 -- `Visit.rest_why`
    url  TEXT NOT NULL                  -- what was asked for
);

CREATE TABLE pace (                     -- what hosts taught, by budget: a host, a domain, an address
    key          TEXT PRIMARY KEY,
    width        REAL NOT NULL,         -- requests at once
    failures     INTEGER NOT NULL,      -- in a row
    parks        INTEGER NOT NULL,      -- in a row
    parked_until REAL NOT NULL          -- Unix time
) WITHOUT ROWID;

CREATE TABLE robots (
    origin     TEXT PRIMARY KEY,        -- scheme://host:port
    host       INTEGER NOT NULL,
    status     INTEGER,                 -- NULL: could not be fetched
    body       BLOB NOT NULL,           -- NULL, 429 or 5xx above: why its links are not asked for
    expires_at REAL NOT NULL,
    delay      REAL
) WITHOUT ROWID;

CREATE TABLE link (
    id         INTEGER PRIMARY KEY,
    key        BLOB NOT NULL,           -- 4 bytes of the host's hash, 12 of the URL's
    host       INTEGER NOT NULL,
    url        TEXT NOT NULL,
    via        INTEGER,                 -- link it was first found on; NULL: a seed
    kind       INTEGER NOT NULL,
    depth      INTEGER NOT NULL,
    hops       INTEGER NOT NULL DEFAULT 0,
    rank       INTEGER NOT NULL,        -- order inside the host, smaller first
    state      INTEGER NOT NULL,
    attempt    INTEGER NOT NULL DEFAULT 0,
    due        REAL,                    -- Unix time of the next try, while resting
    visited_at REAL,
    status     INTEGER,
    bytes      INTEGER,
    reason     TEXT,
    digest     TEXT,
    etag       TEXT,
    modified   TEXT,
    twin       INTEGER,                 -- the first link with the same bytes
    target     INTEGER,                 -- where its redirect leads
    cookie     TEXT,                    -- what a redirect to itself set, for the next try
    released   INTEGER NOT NULL DEFAULT 0, -- `crawler release`: no brake stops it any more
    text_digest TEXT,                   -- of the main text: what `crawler diff` compares
    interval   REAL                     -- seconds until the next revisit; NULL: never revisited
);

CREATE TABLE run (                      -- each recrawl, and where its part of the outputs begins
    number     INTEGER PRIMARY KEY,     -- from 2 on: the first run begins at the files' beginning
    started_at REAL NOT NULL,
    pages      INTEGER NOT NULL,        -- bytes of pages.jsonl
    graph      INTEGER NOT NULL         -- bytes of graph.bin
);

CREATE TABLE file (                     -- downloads; what the blobs say is crawler/downloads/download_request.py's
    url      TEXT PRIMARY KEY,
    ordered  BLOB NOT NULL,             -- what was asked for
    progress BLOB                       -- what is there of it; NULL: nothing
) WITHOUT ROWID;

CREATE TABLE content (                  -- which link first had these bytes
    key  INTEGER PRIMARY KEY,           -- 64 bits of the digest
    link INTEGER NOT NULL
);

CREATE TABLE trap (                     -- what the pages of a template taught (crawler/policy/trap_rules.py)
    name   TEXT PRIMARY KEY,
    reason TEXT NOT NULL,               -- why it is braked; empty: it is not
    state  BLOB NOT NULL                -- traps.Template as MessagePack
) WITHOUT ROWID;

CREATE TABLE bare (                     -- URLs met with a session identifier, without it
    key BLOB PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE refusal (                  -- still to be written to skipped.jsonl
    id     INTEGER PRIMARY KEY,
    link   INTEGER NOT NULL,
    via    INTEGER,
    depth  INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at     REAL NOT NULL
);

CREATE TABLE seen (                     -- the links' keys, folded in from time to time (keys.py)
    key  BLOB PRIMARY KEY,
    link INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX link_queue ON link (host, rank, id) WHERE state = 0;
CREATE INDEX link_due ON link (due) WHERE state = 1;
