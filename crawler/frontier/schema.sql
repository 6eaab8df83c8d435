-- The frontier's tables. `link` grows in the order of discovery; the two partial indexes hold only
-- what is still to do. `state` and `kind` are numbers from crawler/frontier/store.py.

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
    rest_until REAL NOT NULL DEFAULT 0  -- Unix time; Retry-After and back-off survive a restart
);

CREATE TABLE robots (
    origin     TEXT PRIMARY KEY,        -- scheme://host:port
    host       INTEGER NOT NULL,
    status     INTEGER,                 -- NULL: could not be fetched
    body       BLOB NOT NULL,
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
    modified   TEXT
);

CREATE TABLE seen (                     -- the links' keys, folded in from time to time (keys.py)
    key  BLOB PRIMARY KEY,
    link INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX link_queue ON link (host, rank, id) WHERE state = 0;
CREATE INDEX link_due ON link (due) WHERE state = 1;
