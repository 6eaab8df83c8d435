"""The User-Agent header, and the product token that robots.txt groups are matched with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from crawler.config.model import Config
from crawler.errors import ConfigError
from crawler.policy.urls import host_key, registered_domain
from crawler.version import __version__

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_COMPATIBLE = re.compile(r"Mozilla/[^(]*\(compatible; *([^/;)]*)")
_FIELD = re.compile(r"[\t\x20-\x7e]+")


def user_agent(config: Config) -> str:
    """The User-Agent header, with version and contact filled in; no contact, no brackets.

    Raises ConfigError for what cannot be sent in a header (RFC 9110 §5.5).
    """
    agent = config.fetch.user_agent
    if not config.fetch.contact:
        agent = agent.replace(" (+{contact})", "")
    agent = agent.replace("{version}", __version__).replace("{contact}", config.fetch.contact)
    if not _FIELD.fullmatch(agent):
        raise ConfigError(f"fetch.user_agent: {agent!r} cannot be sent: printable ASCII only")
    return agent


def product_token(config: Config) -> str:
    """The name that robots.txt groups are matched with: what stands before the first `/`.

    Of a `Mozilla/5.0 (compatible; NAME/1.0 …)` it is NAME. Raises ConfigError when that is no
    name that a file could address: letters, `-` and `_` are what RFC 9309 §2.2.1 allows, and digits
    are what files have (docs/decisions/0126).
    """
    agent = user_agent(config)
    disguised = _COMPATIBLE.match(agent)
    token = (disguised[1] if disguised else agent.partition("/")[0]).strip()
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"fetch.user_agent: {agent!r} begins with {token!r}, which is no product token "
            "(letters, digits, - and _ only, then /VERSION), so no robots.txt could name it"
        )
    return token


def demand_contact(config: Config, seeds: Sequence[str]) -> None:
    """Raises ConfigError when strangers are to be crawled by somebody who cannot be reached.

    One site may be one's own; several registered domains, or scope `any`, are other people's.
    Hosts that are private by their name or address need no contact.
    """
    if config.fetch.contact:
        return
    hosts = {host_key(seed) for seed in seeds if not is_private(seed)}
    domains = sorted({registered_domain(host) for host in hosts})
    wide = config.scope.scope == "any" and domains
    if len(domains) > 1 or wide:
        why = (
            "scope any leads to sites of any owner"
            if wide
            else f"these seeds are on {len(domains)} registered domains ({', '.join(domains[:3])}"
            f"{', …' if len(domains) > 3 else ''})"
        )
        raise ConfigError(
            f"--contact is missing: {why}, whose owners must be able to reach you; "
            "--contact https://example.org/about-my-crawler or --contact me@example.org "
            "is sent in the User-Agent"
        )


def is_private(url: str) -> bool:
    """Whether a URL names a machine that is not on the public Internet, without looking it up."""
    name = (urlsplit(url).hostname or "").rstrip(".")
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal", ".test")):
        return True
    try:
        return not ip_address(name).is_global
    except ValueError:
        return "." not in name
