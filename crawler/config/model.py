"""ONE frozen, validated model of everything that can be set. Pure: it reads no files.

Defaults < TOML file < environment < flags are merged by `crawler/config/loader.py` into one tree
and validated there. Each package is passed its own small section, never the whole. Units: seconds,
bytes, milliseconds where the name says so.

Annotations are objects here: as strings msgspec compiles each of them, 5 ms of a start.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0, extra={"unit": "s"})]
Bytes = Annotated[int, Meta(ge=0, extra={"unit": "B"})]
Width = Annotated[int, Meta(ge=1, le=10_000)]
Count = Annotated[int, Meta(ge=0)]
ScopeName = Literal["page", "prefix", "host", "domain", "any"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of settings, handed as it is to the part of the house that it rules."""


class ScopeConfig(Section, frozen=True):
    """Which links are followed. The rules themselves: `crawler/policy/scope.py`."""

    scope: ScopeName = "host"
    include: tuple[str, ...] = ()  # regular expressions; a link must match one
    exclude: tuple[str, ...] = ()  # … and none of these
    max_depth: Count | None = None  # clicks from a seed; 0: the seeds alone
    follow: tuple[str, ...] = ("page",)  # kinds of links that are fetched
    forms: bool = False  # follow GET forms' actions
    mime: tuple[str, ...] = ()  # read only bodies of these types, e.g. text/html; empty: all
    probe: bool = False  # links that are not followed are asked for all the same, never read
    max_url: Annotated[int, Meta(ge=16, le=65_536)] = 2083
    max_segments: Annotated[int, Meta(ge=1)] = 25
    max_repeats: Annotated[int, Meta(ge=1)] = 3
    trap: Literal["off", "warn", "brake"] = "brake"
    trap_patience: Annotated[int, Meta(ge=8, le=62)] = 40  # pages of a template without news
    trap_combinations: Annotated[int, Meta(ge=2)] = 32  # of parameters, on one path
    max_links: Annotated[int, Meta(ge=1)] = 100_000  # a page
    requisites: bool = False  # what pages are shown with, also where it lies outside the scope
    seed_redirects: bool = True  # where a seed redirects to is a seed too, and rules the scope


class UrlsConfig(Section, frozen=True):
    """What is done to a URL beyond the WHATWG standard. See `crawler/policy/urls.py`."""

    strip_fragment: bool = True
    strip_query: tuple[str, ...] = (  # names (glob) of parameters that never change the page
        "utm_*", "gclid", "fbclid", "dclid", "msclkid", "mc_cid", "mc_eid", "_ga", "yclid",
    )  # fmt: skip
    sort_query: bool = False


class LimitsConfig(Section, frozen=True):
    """When to stop, and how wide to work."""

    concurrency: Width = 64  # open connections
    workers: Width | None = None  # links in hand, all stages; None: 4 × connections, at least 128
    max_pages: Annotated[int, Meta(ge=1)] | None = None
    time_limit: Seconds | None = None
    size_limit: Bytes | None = None  # sum of bytes on the wire
    stall: Seconds = 300.0  # a link longer than this in one stage is named in the log; 0: never
    grace: Seconds = 10.0  # for what is in hand when the crawl is asked to stop


class PaceConfig(Section, frozen=True):
    """How one host is treated. Enforced in the frontier: no code path goes around it."""

    per_host: Width = 2  # requests at a time, at most, whatever a host has taught
    delay: Seconds = 0.25
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.0  # ± share of the delay
    fast: bool = False  # one's own servers: no pacing at all
    adaptive: bool = True  # begin with 2, go up to per_host while answers stay quick, and down
    max_crawl_delay: Seconds = 60.0  # more is clamped to this, and reported
    max_retry_after: Seconds = 3600.0
    group: Literal["host", "domain", "ip"] = "host"  # who shares width, delay and rests
    limit_rate: Annotated[int, Meta(ge=1, extra={"unit": "B"})] | None = None  # a second, in all
    host_rate: Annotated[int, Meta(ge=1, extra={"unit": "B"})] | None = None  # a second, per host
    park_after: Count = 5  # failures in a row; 0: hosts are never parked
    park: Seconds = 60.0  # the first time; then twice as long each time
    park_most: Seconds = 900.0
    max_parks: Count = 6  # in a row; the crawl then ends without the host, its links still queued


class FetchConfig(Section, frozen=True):
    """One HTTP exchange."""

    user_agent: str = "crawler/{version} (+{contact})"
    contact: str = ""
    headers: dict[str, str] = {}  # to the seeds' origins; what is no secret, to everyone
    host_headers: dict[str, dict[str, str]] = {}  # by host or origin
    auth: dict[str, str] = {}  # host or origin → user:password
    bearer: dict[str, str] = {}  # host or origin → token
    netrc: bool = False  # logins from ~/.netrc, over TLS only
    cookies: bool = False  # keep what sites set, and send it back
    load_cookies: str | None = None  # a cookies.txt to begin with
    save_cookies: str | None = None  # … and to write at the end
    dns_timeout: Seconds = 5.0
    connect_timeout: Seconds = 10.0
    first_byte_timeout: Seconds = 20.0
    idle_timeout: Seconds = 20.0
    timeout: Seconds = 60.0  # the whole exchange
    min_rate: Bytes = 100  # a second, of a body; slower is given up. 0: no such limit
    min_rate_after: Seconds = 10.0  # … once this much time was given to it
    max_body: Bytes = 10 * 1024 * 1024  # on the wire, and again decoded
    max_ratio: Annotated[float, Meta(ge=1)] = 100.0  # decoded / wire, once past a megabyte
    spool_above: Bytes = 1024 * 1024  # larger bodies lie in a file, not in memory
    in_flight: Bytes = 32 * 1024 * 1024  # bodies in memory, of all pages in hand together
    max_redirects: Count = 10
    insecure: bool = False  # do not verify TLS certificates
    private: Literal["seeds", "never", "any"] = "seeds"  # which hosts may have private addresses
    allow_networks: tuple[str, ...] = ()  # private networks anyone may lead to: 10.1.0.0/16
    ca_certificate: str | None = None  # PEM of further authorities to trust
    certificate: str | None = None  # our own, PEM, shown to the seeds' origins only
    private_key: str | None = None  # where it is not in the same file
    ciphers: str | None = None  # OpenSSL's list for TLS up to 1.2; None: as curl
    tls_legacy: bool = False  # old servers too: TLS 1.0, weak keys, renegotiation of old
    proxy: str | None = None  # http, https, socks5 or socks5h
    env_proxy: bool = True  # the command line asks http_proxy … of the environment; nobody else
    scheme_proxies: dict[str, str] = {}  # for http, https, all; where there is no `proxy`
    no_proxy: tuple[str, ...] = ()  # hosts, networks that are reached without one


class RetryConfig(Section, frozen=True):
    """Which failures are worth another try, and when."""

    retries: Count = 3
    on_status: tuple[int, ...] = (408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)
    base: Seconds = 1.0  # full jitter: random(0, base · 2ⁿ)
    ceiling: Seconds = 60.0


class RobotsConfig(Section, frozen=True):
    """RFC 9309, and what pages say to robots."""

    obey: bool = True
    max_age: Seconds = 86_400.0
    timeout: Seconds = 20.0  # one exchange
    patience: Seconds = 30.0  # how long a host's links wait for a robots.txt that is unavailable
    recheck: Seconds = 300.0  # … until it is asked for again; doubled with each failure
    max_recheck: Seconds = 3600.0
    rel: bool = True  # obey rel=nofollow, ugc and sponsored on a link
    noindex: Literal["keep", "drop"] = "keep"  # what becomes of the body of a page that says so


class SitemapConfig(Section, frozen=True):
    """Lists of addresses that sites publish. See `crawler/parse/sitemap.py`."""

    follow: bool = True  # those that a robots.txt names
    urls: tuple[str, ...] = ()  # these too; `guess`: the usual places, where robots.txt names none
    only: bool = False  # visit what sitemaps list, and no links of pages


class ParseConfig(Section, frozen=True):
    """The parse processes."""

    processes: Width | None = None  # None: as many as this process may use CPUs
    deadline: Seconds = 10.0  # a page
    memory: Bytes = 1024 * 1024 * 1024  # address space of a child
    batch_pages: Width = 32
    batch_bytes: Bytes = 1024 * 1024
    recycle_pages: Count = 20_000  # a pool is replaced after so many; 0: never
    simhash: bool = True  # fingerprint the text; without it, traps are seen by equal bytes alone
    plugins: tuple[str, ...] = ()  # dotted path or file path, `module:function`
    anchors: bool = False  # note ids and #fragments, for `crawler check --anchors`
    rules: tuple[
        str, ...
    ] = ()  # TOML files that say what to extract; crawler/parse/extraction_rules.py


class DownloadConfig(Section, frozen=True):
    """Files, as `crawler download` fetches them. The rules themselves: `crawler/transfer/`."""

    name: str = ""  # a template for names: {host}/{name}; empty: the name alone
    # A file of that name is there. continue: it is the beginning of this one, as wget -c has it.
    exists: Literal["rename", "skip", "newer", "replace", "continue"] = "rename"
    connections: Width = 4  # to one file, where the server and the line have use for them
    max_filesize: Bytes | None = None
    disposition: bool = True  # a Content-Disposition may name the file
    accept_html: bool = False  # a page where a file of another type was expected is the file
    keep_wrong: bool = True  # put bytes that fail their checksum aside instead of removing them


class FrontierConfig(Section, frozen=True):
    """Where the crawl's queue lies. Without a url: in the crawl's own folder."""

    url: str | None = None  # redis:// or rediss:// of a Redis or Valkey, a cluster's node too
    job: str = "crawl"  # workers with the same name share one crawl
    shards: Annotated[int, Meta(ge=1, le=16_384)] | None = None  # fixed with the first crawl
    lease: Annotated[float, Meta(ge=0.1, extra={"unit": "s"})] = 60.0  # then a link is another's
    crashes: Count = 5  # leases of one link that may run out before it is given up; 0: any number
    patience: Seconds = 600.0  # how long a server that is away is waited for
    max_queued: Count | None = None  # links waiting, of a shard; what is found beyond is refused
    host_queued: Count | None = None  # … and of one host


class OutputConfig(Section, frozen=True):
    """What a crawl leaves behind, and where."""

    dir: str = "crawl"
    jsonl: bool = True
    graph: bool = True  # graph.bin: which page links to which, 17 bytes a link
    report: bool = True  # report.html, at the end of each run
    text: bool = False  # text/: each page's main content as Markdown
    skipped: bool = False  # skipped.jsonl: every refusal with its reason
    save: Literal["none", "html", "all"] = "none"
    durable: Literal["process", "power"] = "process"  # power: fsync at every commit
    upload: str = ""  # fsspec URL that finished files are copied to; empty: nowhere
    warc: bool = False  # every exchange, in DIR/warc
    mirror: bool = False  # a copy to browse from disk, in DIR/mirror; made from DIR/warc


class WarcConfig(Section, frozen=True):
    """The archive in DIR/warc."""

    compression: Literal["gzip", "zstd", "none"] = "gzip"
    digest: Literal["sha256", "sha1"] = "sha256"
    max_file: Bytes = 1024 * 1024 * 1024  # a new file is begun beyond it
    revisit: bool = True  # a payload that is in the archive is pointed to, not stored again


class Config(Section, frozen=True):
    """Everything a crawl needs to know; written to `DIR/crawl.toml` as it took effect."""

    seeds: tuple[str, ...] = ()
    scope: ScopeConfig = ScopeConfig()
    urls: UrlsConfig = UrlsConfig()
    limits: LimitsConfig = LimitsConfig()
    pace: PaceConfig = PaceConfig()
    fetch: FetchConfig = FetchConfig()
    retry: RetryConfig = RetryConfig()
    robots: RobotsConfig = RobotsConfig()
    sitemap: SitemapConfig = SitemapConfig()
    parse: ParseConfig = ParseConfig()
    download: DownloadConfig = DownloadConfig()
    output: OutputConfig = OutputConfig()
    warc: WarcConfig = WarcConfig()
    frontier: FrontierConfig = FrontierConfig()
