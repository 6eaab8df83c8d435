"""Who we say we are: the User-Agent header and the name that robots.txt groups are matched with."""

from __future__ import annotations

from crawler import __version__
from crawler.config import Config


def user_agent(config: Config) -> str:
    """The User-Agent header, with version and contact filled in; no contact, no brackets."""
    agent = config.fetch.user_agent
    if not config.fetch.contact:
        agent = agent.replace(" (+{contact})", "")
    return agent.replace("{version}", __version__).replace("{contact}", config.fetch.contact)


def product_token(config: Config) -> str:
    """The name robots.txt groups are matched with (RFC 9309 §2.2.1): what stands before the `/`."""
    return user_agent(config).partition("/")[0].strip()
