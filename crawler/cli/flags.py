"""One table: setting → flags → help. Options, `--help`, the configuration files are made from it.

Names are those people know from wget, Scrapy, katana, HTTrack and browsertrix. A setting without
a flag is set by `-s section.key=value`; tests/cli/test_cli.py sees to it that none is missing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click
import msgspec

from crawler.config.loader import Settings, fields
from crawler.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])


class Flag(msgspec.Struct, frozen=True):
    """One setting: its flags, what it does, what its value looks like."""

    key: str  # dotted
    names: tuple[str, ...]  # none: by -s and files only
    help: str
    metavar: str = ""  # nothing: a switch
    choices: tuple[str, ...] = ()
    verbatim: bool = False  # a list whose values may hold commas


FLAGS: Final = (
    Flag("seeds", (), "URLs to start at", "URL"),
    Flag("scope.scope", ("--scope",), "Which links belong to the crawl", "NAME",
         choices=("page", "prefix", "host", "domain", "any")),
    Flag("scope.include", ("-A", "--include"), "Follow only URLs that match; repeatable", "REGEX",
         verbatim=True),
    Flag("scope.exclude", ("-R", "--exclude"), "Never follow URLs that match; repeatable", "REGEX",
         verbatim=True),
    Flag("scope.max_depth", ("-d", "--depth", "--max-depth", "-l", "--level"),
         "Clicks from a seed; 0: the seeds alone", "N"),
    Flag("scope.follow", (), "Kinds of links that are fetched: page, asset, sitemap, feed", "KIND"),
    Flag("scope.forms", ("--forms",), "Follow the actions of GET forms"),
    Flag("scope.mime", ("--mime",), "Read only bodies of these types; repeatable", "TYPE"),
    Flag("scope.probe", (), "Ask for links that are not followed too, without reading them"),
    Flag("scope.max_url", (), "Longest URL in characters", "N"),
    Flag("scope.max_segments", (), "Most path segments of a URL; more is a trap", "N"),
    Flag("scope.max_repeats", (), "How often a path segment may repeat; more is a trap", "N"),
    Flag("scope.trap", ("--trap",), "What is done about webs without an end", "WHAT",
         choices=("off", "warn", "brake")),
    Flag("scope.trap_patience", (), "Pages without news after which a template is braked", "N"),
    Flag("scope.trap_combinations", (), "Combinations of parameters on one path; more is a trap",
         "N"),
    Flag("scope.max_links", (), "Links taken from one page; the rest is told of", "N"),
    Flag("scope.requisites", ("-p", "--page-requisites"),
         "Also what pages are shown with (styles, images, scripts), wherever it lies"),
    Flag("scope.seed_redirects", ("--seed-redirects/--no-seed-redirects",),
         "Where a seed redirects to is crawled in its place, on another host too"),
    Flag("urls.strip_fragment", (), "Take #fragments off"),
    Flag("urls.strip_query", ("--strip-query",),
         "Parameters that never change a page, as globs; replaces the list", "NAME"),
    Flag("urls.sort_query", (), "Sort the parameters, for sites that do not care"),
    Flag("limits.concurrency", ("-c", "--concurrency"), "Open connections in all", "N"),
    Flag("limits.workers", (), "Links in hand, all stages; unset: 4 × -c, at least 128", "N"),
    Flag("limits.max_pages", ("--max-pages", "--limit"), "Stop after N pages, exactly", "N"),
    Flag("limits.time_limit", ("--time-limit",), "Stop after this long: 90, 30m, 1h30m", "TIME"),
    Flag("limits.size_limit", ("--size-limit",), "Stop before more bytes came than this", "SIZE"),
    Flag("limits.stall", (), "Name links in the log that are stuck this long; 0: never", "TIME"),
    Flag("limits.grace", ("--grace",), "Time for what is in hand when stopped", "TIME"),
    Flag("pace.per_host", ("--per-host",), "Requests at a time to one host", "N"),
    Flag("pace.delay", ("--delay", "-w", "--wait"), "Pause between requests to a host", "TIME"),
    Flag("pace.jitter", ("--jitter",), "Vary the pause by up to this share; 0.5: wget's", "SHARE"),
    Flag("pace.fast", (), "Your own servers: no pacing at all, one host may have all connections"),
    Flag("pace.adaptive", ("--adaptive/--no-adaptive",), "Slow down for a host that slows down"),
    Flag("pace.max_crawl_delay", (), "Longest Crawl-delay that is honoured", "TIME"),
    Flag("pace.max_retry_after", (), "Longest Retry-After that is honoured", "TIME"),
    Flag("pace.group", ("--host-group",), "Who shares one host's pace", "NAME",
         choices=("host", "domain", "ip")),
    Flag("pace.limit_rate", ("--limit-rate",), "Bytes a second in all, on average", "SIZE"),
    Flag("pace.host_rate", ("--host-rate",), "Bytes a second from one host, on average", "SIZE"),
    Flag("pace.park_after", (), "Park a host after so many failures in a row; 0: never", "N"),
    Flag("pace.park", (), "How long at first; each time in a row doubles it", "TIME"),
    Flag("pace.park_most", (), "How long at most", "TIME"),
    Flag("pace.max_parks", (), "The crawl's end waits for so many in a row", "N"),
    Flag("fetch.user_agent", ("--user-agent",),
         "User-Agent; {version} and {contact} are filled in", "TEXT"),
    Flag("fetch.contact", ("--contact",), "URL or mail address where you can be reached", "TEXT"),
    Flag("fetch.headers", ("-H", "--header"),
         "Send a header to the seeds' servers, `Name: value`; repeatable", "HEADER"),
    Flag("fetch.host_headers", (), "Headers by host or origin", "TABLE"),
    Flag("fetch.auth", ("--auth",), "Log in by HTTP Basic, `HOST=USER:PASSWORD`; repeatable",
         "LOGIN"),
    Flag("fetch.bearer", ("--bearer",), "Send a bearer token, `HOST=TOKEN`; repeatable", "TOKEN"),
    Flag("fetch.netrc", ("--netrc",), "Logins from ~/.netrc, over TLS only"),
    Flag("fetch.cookies", ("--cookies",), "Keep cookies and send them back (RFC 6265)"),
    Flag("fetch.load_cookies", ("--load-cookies",), "Begin with the cookies of a cookies.txt",
         "FILE"),
    Flag("fetch.save_cookies", ("--save-cookies",), "Write the cookies to a cookies.txt at the end",
         "FILE"),
    Flag("fetch.dns_timeout", (), "For looking a name up", "TIME"),
    Flag("fetch.connect_timeout", ("--connect-timeout",), "For connecting, TLS included", "TIME"),
    Flag("fetch.first_byte_timeout", (), "For the first byte of an answer", "TIME"),
    Flag("fetch.idle_timeout", (), "Between two pieces of an answer", "TIME"),
    Flag("fetch.timeout", ("--timeout",), "For one whole exchange", "TIME"),
    Flag("fetch.min_rate", (), "Give up bodies that come slower than this a second; 0: never",
         "SIZE"),
    Flag("fetch.min_rate_after", (), "Time that a slow body has before", "TIME"),
    Flag("fetch.max_body", ("--max-body",), "Largest body, on the wire and decoded", "SIZE"),
    Flag("fetch.max_ratio", (), "Largest decoded/wire ratio past a megabyte: bombs", "N"),
    Flag("fetch.spool_above", (), "Larger bodies lie in a file, not in memory", "SIZE"),
    Flag("fetch.in_flight", (), "Memory for all bodies in hand; what is more lies in files",
         "SIZE"),
    Flag("fetch.max_redirects", (), "Redirects in a row", "N"),
    Flag("fetch.insecure", ("--insecure",), "Do not verify TLS certificates"),
    Flag("fetch.private", ("--private",), "Which hosts may have private addresses", "WHO",
         choices=("seeds", "never", "any")),
    Flag("fetch.allow_networks", ("--allow-network",),
         "A private network that links may lead to, 10.1.0.0/16; repeatable", "CIDR"),
    Flag("fetch.ca_certificate", ("--ca-certificate",), "Trust these authorities too, PEM", "FILE"),
    Flag("fetch.certificate", ("--certificate",), "Our certificate for the seeds' servers, PEM",
         "FILE"),
    Flag("fetch.private_key", ("--private-key",), "Its key, where it is in another file", "FILE"),
    Flag("fetch.ciphers", ("--ciphers",), "Ciphers offered up to TLS 1.2, OpenSSL's list", "LIST"),
    Flag("fetch.tls_legacy", ("--tls-legacy",), "Speak with old servers: TLS 1.0, weak keys"),
    Flag("fetch.proxy", ("--proxy",), "Go through a proxy: http, https, socks5", "URL"),
    Flag("fetch.env_proxy", ("--env-proxy/--no-proxy",),
         "Where no --proxy is given, the proxies of http_proxy, https_proxy, all_proxy, no_proxy"),
    Flag("fetch.scheme_proxies", (), "Proxies by what is fetched: http, https, all", "TABLE"),
    Flag("fetch.no_proxy", (), "Hosts and networks that are reached without a proxy", "LIST"),
    Flag("retry.retries", ("-t", "--retries"), "Tries after the first", "N"),
    Flag("retry.on_status", ("--retry-on-http-status",),
         "Statuses worth another try, 429,503; replaces the list", "LIST"),
    Flag("retry.base", (), "The n-th wait is random up to this times 2ⁿ", "TIME"),
    Flag("retry.ceiling", (), "Longest wait that is not asked for by the server", "TIME"),
    Flag("robots.obey", ("--robots/--no-robots",),
         "Obey robots.txt (RFC 9309) and what pages say to robots"),
    Flag("robots.max_age", (), "How long a robots.txt holds at most", "TIME"),
    Flag("robots.timeout", (), "For one exchange about a robots.txt", "TIME"),
    Flag("robots.patience", (), "How long links wait for a robots.txt that answers 429 or 5xx",
         "TIME"),
    Flag("robots.recheck", (), "How long until one that could not be had is asked for again; "
         "doubled each time", "TIME"),
    Flag("robots.max_recheck", (), "… at most", "TIME"),
    Flag("robots.rel", (), "Obey rel=nofollow, ugc and sponsored on a link"),
    Flag("robots.noindex", ("--noindex",), "The body of a page that asks not to be indexed",
         "WHAT", choices=("keep", "drop")),
    Flag("sitemap.follow", ("--sitemaps/--no-sitemap",),
         "Read the sitemaps that a robots.txt names"),
    Flag("sitemap.urls", ("--sitemap",),
         "Read this sitemap too; `guess`: look in the usual places; repeatable", "URL"),
    Flag("sitemap.only", ("--sitemap-only",), "Visit what sitemaps list, and no links of pages"),
    Flag("parse.processes", ("--processes",), "Parse processes; unset: one a usable CPU", "N"),
    Flag("parse.deadline", (), "Time to read one page", "TIME"),
    Flag("parse.memory", (), "Address space of a parse process", "SIZE"),
    Flag("parse.batch_pages", (), "Pages sent to a process at once, at most", "N"),
    Flag("parse.batch_bytes", (), "Bytes sent to a process at once, about", "SIZE"),
    Flag("parse.recycle_pages", (), "Replace the processes after so many pages; 0: never", "N"),
    Flag("parse.simhash", (), "Fingerprint the text of pages: near duplicates, traps"),
    Flag("parse.plugins", ("--plugin",),
         "Extract with module:function or file.py:function; repeatable", "NAME"),
    Flag("parse.anchors", (), "Note the ids on pages and the #fragments of links"),
    Flag("parse.rules", ("--rules",), "Extract what this TOML file says; repeatable", "FILE"),
    Flag("download.name", (), "Names of downloads: {host}/{name}; see `crawler download`", "TEXT"),
    Flag("download.exists", (), "When a file of that name is there", "WHAT",
         choices=("rename", "skip", "newer", "replace")),
    Flag("download.connections", (), "Connections to one file, where they pay", "N"),
    Flag("download.max_filesize", (), "Largest file", "SIZE"),
    Flag("download.disposition", (), "A Content-Disposition may name the file"),
    Flag("download.accept_html", (), "A page where another type was expected is the file"),
    Flag("download.keep_wrong", (), "Keep bytes that fail their checksum, as NAME.wrong"),
    Flag("output.dir", ("-O", "--out-dir"), "Where the crawl lies", "DIR"),
    Flag("output.jsonl", (), "Write pages.jsonl, one line a page"),
    Flag("output.graph", ("--graph/--no-graph",),
         "Keep which page links to which, for broken links and exports"),
    Flag("output.report", ("--report/--no-report",), "Write report.html at the end"),
    Flag("output.text", ("--text",), "Keep each page's main content as Markdown, in text/"),
    Flag("output.skipped", ("--report-skipped",), "Write skipped.jsonl: every refusal, and why"),
    Flag("output.save", ("--save",), "Keep bodies too, one file a page", "WHAT",
         choices=("none", "html", "all")),
    Flag("output.durable", ("--durable",), "A commit survives kill -9, or a power cut", "WHAT",
         choices=("process", "power")),
    Flag("output.upload", ("--upload",), "Copy finished files there: s3://bucket/path, gs://…",
         "URL"),
    Flag("output.warc", ("--warc",), "Archive every exchange in DIR/warc (WARC 1.1)"),
    Flag("output.mirror", ("-m", "--mirror", "-k", "--convert-links"),
         "Leave a copy to browse from disk in DIR/mirror; archives, and takes page requisites"),
    Flag("warc.compression", ("--warc-compression",), "How each record is packed", "NAME",
         choices=("gzip", "zstd", "none")),
    Flag("warc.digest", (), "Digests in the archive: sha256 or sha1", "NAME"),
    Flag("warc.max_file", ("--warc-max-size",), "Begin a new archive file beyond this", "SIZE"),
    Flag("warc.revisit", (), "Point to a payload that is archived already, store it once"),
    Flag("frontier.url", ("--frontier",),
         "Queue on a Redis or Valkey that many machines share", "URL"),
    Flag("frontier.job", ("--job",), "Name of the crawl there", "NAME"),
    Flag("frontier.shards", (), "Parts of the queue there, fixed with the first crawl", "N"),
    Flag("frontier.lease", (), "How long a silent worker keeps its links", "TIME"),
    Flag("frontier.crashes", (), "Give a link up after so many lost leases; 0: never", "N"),
    Flag("frontier.patience", (), "How long a server that is away is waited for", "TIME"),
    Flag("frontier.max_queued", (), "Links waiting in a shard; more are refused", "N"),
    Flag("frontier.host_queued", (), "Links waiting for one host; more are refused", "N"),
)  # fmt: skip

HELP: Final = {flag.key: flag.help for flag in FLAGS}

FETCHING: Final = ("fetch.", "urls.", "scope.")
"""What matters to a single trip."""


def options(
    *,
    without: tuple[str, ...] = (),
    only: tuple[str, ...] = ("",),
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[F], F]:
    """Give a click command the flags; `given` takes their values out again.

    `defaults` are the command's own, where they differ from the settings': they are shown.
    """
    known, own = fields(), defaults or {}

    def decorate(command: F) -> F:
        for flag in reversed(FLAGS):
            if flag.names and flag.key.startswith(only) and flag.key not in without:
                several = known[flag.key].kind in {"list", "table"}
                default = own.get(flag.key, known[flag.key].default)
                shown = "  [no]" if default is False and "/" in flag.names[0] else _shown(default)
                command = _option(flag, shown, several)(command)
        return command

    return decorate


def _option(flag: Flag, default: str, several: bool) -> Callable[[F], F]:
    settings: dict[str, Any] = {"help": f"{flag.help}.{default}", "default": None}
    if flag.choices:
        settings["type"] = click.Choice(flag.choices)
    elif flag.metavar:  # text: units, bounds and messages are the settings'
        settings |= {"type": str, "metavar": flag.metavar}
    elif "/" not in flag.names[0]:
        settings |= {"is_flag": True, "flag_value": True}
    if several:
        settings["multiple"] = True
    return click.option(*flag.names, _parameter(flag.key), **settings)


def _shown(default: Any) -> str:
    if default is None or default is False or default in ((), {}, ""):
        return ""
    if isinstance(default, tuple):
        default = ",".join(str(one) for one in default)
    return f"  [{'yes' if default is True else default}]" if len(str(default)) < 24 else ""


def given(settings: Settings, values: Mapping[str, Any]) -> None:
    """Enter what was said on the command line. Raises ConfigError."""
    for flag in FLAGS:
        value = values.get(_parameter(flag.key))
        if value is None or value == ():
            continue
        if flag.key == "fetch.headers":
            value = _headers(value)
        elif flag.key in {"fetch.auth", "fetch.bearer"}:
            value = _by_host(value, long_name(flag))
        elif isinstance(value, tuple):
            value = list(value) if flag.verbatim else ",".join(value)
        settings.set(flag.key, value, long_name(flag))


def long_name(flag: Flag) -> str:
    """The flag as messages call it."""
    names = [name for name in flag.names if name.startswith("--")]
    return names[0] if names else f"-s {flag.key}"


def _headers(lines: tuple[str, ...]) -> dict[str, str]:
    """`Name: value` lines (RFC 9110 §5.1, §5.5): a control character would smuggle a header in."""
    pairs = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        clean = all(" " <= char != "\x7f" or char == "\t" for char in value)
        token = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not colon or not token or not clean:
            raise ConfigError(f"--header: {line!r} is not `Name: value`")
        pairs[name] = value
    return pairs


def _by_host(given: tuple[str, ...], flag: str) -> dict[str, str]:
    """`HOST=SECRET`. The message does not repeat what may be a password."""
    pairs = {}
    for one in given:
        host, equals, secret = one.partition("=")
        if not equals or not host or not secret:
            raise ConfigError(f"{flag}: expected HOST=…, as in {flag} example.com=…")
        pairs[host.strip()] = secret
    return pairs


def _parameter(key: str) -> str:
    return key.replace(".", "__")
