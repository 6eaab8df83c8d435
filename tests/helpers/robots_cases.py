"""robots.txt cases written from the text and the examples of RFC 9309.

`{agent}` in a file stands for the product token of whoever is under test, so that the same cases
judge other crawlers by their own names (tests/conformance.py).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One file, and what it says about paths. `section` is the RFC's, `rule` what is at stake."""

    section: str
    rule: str
    body: bytes
    allowed: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()

    def file(self, agent: str) -> bytes:
        """The file as served to one crawler."""
        return self.body.replace(b"{agent}", agent.encode())


def case(
    section: str,
    rule: str,
    body: str | bytes,
    *,
    allowed: tuple[str, ...] = (),
    forbidden: tuple[str, ...] = (),
) -> Case:
    return Case(
        section, rule, body if isinstance(body, bytes) else body.encode(), allowed, forbidden
    )


STAR = "User-agent: *\n"
FORBID_X = STAR + "Disallow: /x\n"

CASES = (
    # ── §2.2.1: the user-agent line ──
    case("2.2.1", "the token is matched without regard to case",
         "User-agent: *\nDisallow: /\n\nUSER-AGENT: {agent}\nDisallow: /x\n\n"
         "user-agent: OTHER\nDisallow: /\n",
         allowed=("/a",), forbidden=("/x",)),
    case("2.2.1", "a version after the token says nothing",
         "User-agent: {agent}/2.1\nDisallow: /x\n\nUser-agent: *\nDisallow: /y\n",
         allowed=("/y",), forbidden=("/x",)),
    case("2.2.1", "the token is the whole name, not its beginning",
         "User-agent: {agent}-image\nDisallow: /x\n\nUser-agent: *\nDisallow: /y\n",
         allowed=("/x",), forbidden=("/y",)),
    case("2.2.1", "a shorter name is another crawler",
         "User-agent: cra\nDisallow: /x\nUser-agent: w\nDisallow: /x\n"
         "User-agent: *\nDisallow: /y\n",
         allowed=("/x",), forbidden=("/y",)),
    case("2.2.1", "groups of the same token are one group",
         "User-agent: {agent}\nDisallow: /a\n\nUser-agent: other\nDisallow: /b\n\n"
         "User-agent: {agent}\nDisallow: /c\n",
         allowed=("/b", "/d"), forbidden=("/a", "/c")),
    case("2.2.1", "groups of * are one group too",
         "User-agent: *\nDisallow: /a\n\nUser-agent: other\nDisallow: /b\n\n"
         "User-agent: *\nDisallow: /c\n",
         allowed=("/b",), forbidden=("/a", "/c")),
    case("2.2.1", "our own group, and nothing of *",
         "User-agent: *\nDisallow: /a\n\nUser-agent: {agent}\nDisallow: /b\n",
         allowed=("/a",), forbidden=("/b",)),
    case("2.2.1", "our own group without rules allows all",
         "User-agent: *\nDisallow: /\n\nUser-agent: {agent}\n",
         allowed=("/", "/a")),
    case("2.2.1", "several names share a group",
         "User-agent: other\nUser-agent: {agent}\nUser-agent: third\nDisallow: /x\n"
         "\nUser-agent: *\nDisallow: /y\n",
         allowed=("/y",), forbidden=("/x",)),
    case("2.2.1", "without a group for us or for * all is allowed",
         "User-agent: other\nDisallow: /\n", allowed=("/", "/a")),
    case("2.1", "a rule before any group belongs to nobody",
         "Disallow: /a\nUser-agent: *\nDisallow: /b\n", allowed=("/a",), forbidden=("/b",)),
    case("2.1", "an empty file allows all", "", allowed=("/", "/a")),
    case("5.1", "the simple example",
         "User-Agent: *\nDisallow: *.gif$\nDisallow: /example/\nAllow: /publications/\n\n"
         "User-Agent: foobot\nDisallow:/\nAllow:/example/page.html\nAllow:/example/allowed.gif\n\n"
         "User-Agent: barbot\nUser-Agent: bazbot\nDisallow: /example/page.html\n\n"
         "User-Agent: quxbot\n",
         allowed=("/publications/", "/", "/example", "/x.gif?y"),
         forbidden=("/example/", "/example/page.html", "/x.gif", "/a/b/x.gif")),
    case("5.2", "the longest match example",
         "User-Agent: {agent}\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n",
         allowed=("/example/page/", "/example/page/allowed.gif"),
         forbidden=("/example/page/disallowed.gif",)),
    # ── §2.2.2: the rules ──
    case("2.2.2", "the longest match wins, wherever it stands",
         STAR + "Disallow: /a\nAllow: /a/b\nDisallow: /a/b/c\n",
         allowed=("/a/b", "/a/b/x"), forbidden=("/a", "/a/x", "/a/b/c", "/a/b/c/d")),
    case("2.2.2", "the longest match wins, in the other order",
         STAR + "Disallow: /a/b/c\nAllow: /a/b\nDisallow: /a\n",
         allowed=("/a/b", "/a/b/x"), forbidden=("/a", "/a/x", "/a/b/c", "/a/b/c/d")),
    case("2.2.2", "Allow wins where both are as long",
         STAR + "Disallow: /page\nAllow: /page\n\n", allowed=("/page", "/page/x")),
    case("2.2.2", "Allow wins where both are as long, with wildcards",
         STAR + "Disallow: /fish*\nAllow: /*ish*\n", allowed=("/fish",)),
    case("2.2.2", "length is counted in octets of the pattern, wildcards too",
         STAR + "Allow: /page\nDisallow: /*.htm\n", allowed=("/page",), forbidden=("/page.htm",)),
    case("2.2.2", "paths differ in case", STAR + "Disallow: /Private\n",
         allowed=("/private",), forbidden=("/Private", "/Private/x")),
    case("2.2.2", "a path is matched from its start",
         STAR + "Disallow: /b\n", allowed=("/a/b", "/a?/b"), forbidden=("/b", "/bc", "/b?x")),
    case("2.2.2", "a path without its slash matches nothing",
         STAR + "Disallow: b\n", allowed=("/b", "/a/b")),
    case("2.2.2", "a query is part of the path",
         STAR + "Disallow: /a?x=1\n", allowed=("/a", "/a?x=2"), forbidden=("/a?x=1", "/a?x=1&y")),
    case("2.2.2", "no match: allowed", STAR + "Allow: /a\n", allowed=("/a", "/b")),
    case("2.2.2", "an empty Disallow forbids nothing",
         STAR + "Disallow:\n", allowed=("/", "/a")),
    case("2.2.2", "an empty Allow allows nothing more",
         STAR + "Disallow: /a\nAllow:\n", allowed=("/b",), forbidden=("/a",)),
    case("2.2.2", "/robots.txt is allowed whatever is said",
         STAR + "Disallow: /\n", allowed=("/robots.txt",), forbidden=("/a", "/robots.txtx")),
    case("2.2.2", "table: /foo/bar?baz=quz",
         STAR + "Disallow: /foo/bar?baz=quz\n", allowed=("/foo/bar",),
         forbidden=("/foo/bar?baz=quz",)),
    case("2.2.2", "table: reserved characters in a query, encoded or not",
         STAR + "Disallow: /foo/bar?baz=https://foo.bar\n", allowed=("/foo/bar?baz=",),
         forbidden=("/foo/bar?baz=https%3A%2F%2Ffoo.bar", "/foo/bar?baz=https://foo.bar")),
    case("2.2.2", "table: non-ASCII as UTF-8",
         STAR + "Disallow: /foo/bar/ツ\n", allowed=("/foo/bar/",),
         forbidden=("/foo/bar/%E3%83%84", "/foo/bar/%e3%83%84")),
    case("2.2.2", "table: non-ASCII percent-encoded",
         STAR + "Disallow: /foo/bar/%E3%83%84\n", allowed=("/foo/bar/%E3%83",),
         forbidden=("/foo/bar/%E3%83%84", "/foo/bar/%e3%83%84")),
    case("2.2.2", "table: unreserved characters percent-encoded",
         STAR + "Disallow: /foo/bar/%62%61%7A\n", allowed=("/foo/bar/ba",),
         forbidden=("/foo/bar/baz", "/foo/bar/%62%61%7A", "/foo/bar/%62%61%7a")),
    case("2.2.2", "unreserved characters percent-encoded in the address",
         STAR + "Disallow: /a~b\n", allowed=("/a",), forbidden=("/a~b", "/a%7Eb", "/%61%7eb")),
    case("2.2.2", "an encoded slash is no slash",
         STAR + "Disallow: /a/b\nDisallow: /c%2Fd\n", allowed=("/a%2Fb", "/c/d"),
         forbidden=("/a/b", "/c%2Fd", "/c%2fd")),
    case("2.2.2", "an encoded question mark is no query",
         STAR + "Disallow: /a?b\nDisallow: /c%3Fd\n", allowed=("/a%3Fb", "/c?d"),
         forbidden=("/a?b", "/c%3fd")),
    case("2.2.2", "encoded octets count for the length as those they stand for",
         STAR + "Disallow: /%61%62\nAllow: /abc\n", allowed=("/abc",), forbidden=("/ab", "/abd")),
    # ── §2.2.3: special characters ──
    case("2.2.3", "# begins a comment",
         "# User-agent: {agent}\nUser-agent: * # all\nDisallow: /a#b\n#Disallow: /c\n",
         allowed=("/c", "/b"), forbidden=("/a", "/ab")),
    case("2.2.3", "$ is the end",
         STAR + "Allow: /this/path/exactly$\nDisallow: /this\n",
         allowed=("/this/path/exactly",),
         forbidden=("/this/path/exactly/x", "/this/path/exactly?x")),
    case("2.2.3", "* is any number of octets",
         STAR + "Disallow: /this/*/exactly\n",
         allowed=("/this/exactly", "/this/x/exact"),
         forbidden=("/this/x/exactly", "/this/x/y/exactly", "/this/x/exactlyy")),
    case("2.2.3", "* and $ together",
         STAR + "Disallow: /*.php$\n",
         allowed=("/a.php5", "/a.php?x", "/php"), forbidden=("/a.php", "/b/a.php", "/.php")),
    case("2.2.3", "* at the end changes nothing",
         STAR + "Disallow: /fish*\n", allowed=("/Fish",), forbidden=("/fish", "/fishheads")),
    case("2.2.3", "* at the start",
         STAR + "Disallow: *.gif\n", allowed=("/gif",), forbidden=("/a.gif", "/b/a.gif?c")),
    case("2.2.3", "several * are matched in order",
         STAR + "Disallow: /a*b*c$\n",
         allowed=("/acb", "/abcd"), forbidden=("/abc", "/aXbXbXcXc")),
    case("2.2.3", "a percent-encoded * is the character",
         STAR + "Disallow: /path/file-with-a-%2A.html\n",
         allowed=("/path/file-with-a-x.html",),
         forbidden=("/path/file-with-a-*.html", "/path/file-with-a-%2a.html")),
    case("2.2.3", "a percent-encoded $ is the character",
         STAR + "Disallow: /path/foo-%24\n", allowed=("/path/foo-",),
         forbidden=("/path/foo-$", "/path/foo-%24", "/path/foo-$x")),
    case("2.2.3", "$ anywhere else is the character",
         STAR + "Disallow: /a$b\n", allowed=("/a",), forbidden=("/a$b", "/a%24bc")),
    # ── §2.2: the form, §2.2.4: other records ──
    case("2.2", "lines end with CR", b"User-agent: *\rDisallow: /a\rDisallow: /b\r",
         allowed=("/c",), forbidden=("/a", "/b")),
    case("2.2", "lines end with CRLF", b"User-agent: *\r\nDisallow: /a\r\n\r\nDisallow: /b\r\n",
         allowed=("/c",), forbidden=("/a", "/b")),
    case("2.2", "the last line has no end", b"User-agent: *\nDisallow: /a",
         allowed=("/b",), forbidden=("/a",)),
    case("2.2", "white space around everything",
         b" \t User-agent \t :\t * \t\n\t disallow\t:\t/a \t# c\n",
         allowed=("/b",), forbidden=("/a", "/ab")),
    case("2.2", "no white space at all", b"user-agent:*\ndisallow:/a",
         allowed=("/b",), forbidden=("/a",)),
    case("2.2", "keys are matched without regard to case",
         b"USER-AGENT: *\nDISALLOW: /a\naLLoW: /a/b\n", allowed=("/a/b",), forbidden=("/a",)),
    case("2.2", "an empty line ends no group",
         STAR + "\n\nDisallow: /a\n\nDisallow: /b\n", allowed=("/c",), forbidden=("/a", "/b")),
    case("2.3", "a byte order mark is no part of the file",
         b"\xef\xbb\xbfUser-agent: *\nDisallow: /a\n", allowed=("/b",), forbidden=("/a",)),
    case("2.3.1.5", "bytes that are not UTF-8 spoil only themselves",
         b"# caf\xe9 \xff\xfe\nUser-agent: *\nDisallow: /caf\xe9\nDisallow: /b\n",
         allowed=("/c",), forbidden=("/b", "/caf%E9")),
    case("2.3.1.5", "a NUL spoils only its line",
         b"\x00\x01\nUser-agent: *\nDisallow: /a\nDis\x00allow: /c\nDisallow: /b\n",
         allowed=("/c",), forbidden=("/a", "/b")),
    case("2.3.1.5", "what cannot be parsed is passed over, the rest is used",
         "<!doctype html>\nnonsense\n: /x\nUser-agent: *\nno rule: /c\nDisallow: /a\n",
         allowed=("/c",), forbidden=("/a",)),
    case("2.2.4", "a Sitemap ends no group",
         "User-agent: {agent}\nSitemap: http://example.com/s.xml\nDisallow: /a\n"
         "Sitemap: http://example.com/t.xml\nDisallow: /b\n\nUser-agent: *\nDisallow: /\n",
         allowed=("/c",), forbidden=("/a", "/b")),
    case("2.2.4", "other records between user-agent lines end no group",
         "User-agent: {agent}\nSitemap: http://example.com/s.xml\nunknown: 1\n"
         "User-agent: other\nDisallow: /a\n\nUser-agent: *\nDisallow: /\n",
         allowed=("/c",), forbidden=("/a",)),
    case("2.2.4", "other records between rules end no group",
         "User-agent: {agent}\nDisallow: /a\nunknown: x\nCrawl-delay: 0\nDisallow: /b\n"
         "\nUser-agent: *\nDisallow: /\n",
         allowed=("/c",), forbidden=("/a", "/b")),
    case("2.5", "the first 500 KiB are read, whatever the size",
         b"# " + b"x" * (500 * 1024 - 60) + b"\nUser-agent: *\nDisallow: /a\n"
         + b"# more\n" * 200_000,
         allowed=("/b",), forbidden=("/a",)),
)  # fmt: skip

RULE = "User-agent: *\n{line}\nDisallow: /z\n"


def _reads(rule: str, line: str) -> Case:
    """A line that forbids /x and /x alone."""
    return case("2.2.4", f"{rule}: {line!r}", RULE.format(line=line),
                allowed=("/y",), forbidden=("/x", "/z"))  # fmt: skip


def _passes(rule: str, line: str) -> Case:
    """A line that says nothing."""
    return case("2.2.4", f"{rule}: {line!r}", RULE.format(line=line),
                allowed=("/", "/x", "/y"), forbidden=("/z",))  # fmt: skip


LENIENT = (
    *(_reads("a misspelling that peers read", f"{word}: /x") for word in (
        "Dissallow", "dissalow", "Disalow", "DIASLLOW", "Disallaw", "Disallows", "Disallowed",
        "Desallow", "dsallow", "dssalow", "diallow", "Disllow", "Dis-allow", "Dis allow",
    )),
    *(_reads("no colon", line) for line in (
        "Disallow /x", "disallow\t/x", "  Disallow   /x  ", "Dissallow /x", "Disallow /x # why",
        "Disallow /x<br>",
    )),
    *(_reads("what editors and pages leave", line) for line in (
        "Disallow: /x<br>", "Disallow: /x <BR />", "Disallow:\u00a0/x", "\u00a0Disallow: /x",
        "\ufeffDisallow: /x", "\u200bDisallow:\u200b/x", "Disallow\u00a0: /x", "\fDisallow:\v/x",
    )),
    *(_passes("another record", f"{word}: /") for word in (
        "DisallowAITraining", "Disallow-AI", "Noindex", "Content-Signal", "No-allow", "Dis", "low",
    )),
    *(_passes("prose", line) for line in (
        "Disallow everything", "Disallow / and /x", "Disallow", "Disallow:", "Disallow /a /b",
        "Please disallow /x", "Allow me", "/x", "Disallow/x",
    )),
    *(case("2.2.4", f"a group for us: {line!r}",
           f"User-agent: *\nDisallow: /y\n{line}\nDisallow: /x\n",
           allowed=("/y",), forbidden=("/x",))
      for line in (
        "User-agent {agent}", "useragent: {agent}", "User agent: {agent}", "User agent {agent}",
        "User_Agent: {agent}", "User-agents: {agent}", "Users-agent: {agent}",
        "User-agnet: {agent}", "useg-agent: {agent}", "ser-agent: {agent}", "USERAGENT {agent}/2",
        "User-agent: {agent}<br>", "User - Agent : {agent}",
    )),
    case("2.2.4", "a path may have a colon where the key has none",
         STAR + "Disallow /a:b\n", allowed=("/a",), forbidden=("/a:b",)),
    case("2.2.4", "a path of UTF-8 without a colon", STAR + "Disallow /\u5834\n",
         allowed=("/",), forbidden=("/%E5%A0%B4",)),
    case("2.2.4", "Allow is read as kindly as Disallow",
         STAR + "Disallow: /x\nAllow /x/a\nAllowed: /x/b\nAllows: /x/c\n",
         allowed=("/x/a", "/x/b", "/x/c"), forbidden=("/x/d",)),
    case("2.2.4", "prose does not end the names of a group",
         "User-agent: {agent}\nDisallow everyone\nUser-agent: other\nDisallow: /x\n",
         allowed=("/y",), forbidden=("/x",)),
    case("2.2.4", "* with a <br> is *", "User-agent: *<br>\nDisallow: /x<BR>\n",
         allowed=("/y",), forbidden=("/x",)),
    case("2.2.2", "a path that is not ASCII at its end keeps it",
         STAR + "Disallow: /x\u00a0\n", allowed=("/x",), forbidden=("/x%C2%A0",)),
    case("2.2.2", "a path may have < and > in it",
         STAR + "Disallow: /a<d>\nDisallow: /<br>b\n", allowed=("/a", "/b"),
         forbidden=("/a%3Cd%3E", "/%3Cbr%3Eb")),
    *(case("2.3", f"a byte order mark that was cut is none: {mark!r}",
           mark + b"User-agent: *\nDisallow: /x\n", allowed=("/y",), forbidden=("/x",))
      for mark in (b"\xef", b"\xef\xbb", b"\xef\xbb\xbf")),
    case("2.3", "what is no byte order mark spoils its line",
         b"\xef\x11\xbfUser-agent: *\nDisallow: /x\n", allowed=("/x",)),
    *(case("2.3", f"a file in UTF-16 whose mark says so: {order}",
           "\ufeffUser-agent: *\r\nDisallow: /x\u00e9\r\n".encode(order),
           allowed=("/y",), forbidden=("/x%C3%A9",))
      for order in ("utf-16-le", "utf-16-be")),
    case("2.2.2", "who allows a folder's index.html allows the folder's address",
         STAR + "Disallow: /\nAllow: /a/index.html\nAllow: /b/index.htm\nAllow: /index.html/c\n",
         allowed=("/a/", "/a/index.html", "/b/", "/b/index.html"),
         forbidden=("/", "/a", "/a/?x", "/a/x", "/a/index.htm", "/index.html/")),
    case("2.2.2", "who forbids a folder's index.html forbids nothing else",
         STAR + "Disallow: /a/index.html\n", allowed=("/a/",), forbidden=("/a/index.html",)),
    case("2.2", "each kind of line end ends a line",
         b"User-agent: *\rDisallow: /a\n\rDisallow: /b\r\nDisallow: /c\n\nDisallow: /d",
         allowed=("/e",), forbidden=("/a", "/b", "/c", "/d")),
)  # fmt: skip
"""What is no line of the RFC's grammar and read all the same, as Google's parser, Protego and
crawler-commons do (RFC 9309 §2.2.4 lets a crawler be lenient), and what is not."""
