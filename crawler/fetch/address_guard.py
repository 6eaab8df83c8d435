"""Refuse private addresses that were not named, and ports that are not the web's.

The address is judged where the socket is made, on the very address that is connected to, so
neither a literal in some odd form, nor a redirect, nor a name that changes its answer between
look-up and connection gets by (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from crawler.errors import ConfigError, Forbidden

_EMBEDDING = (
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052: the IPv4 address is in the last 32 bits
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 for local use, RFC 8215
    (IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056: in bits 16 to 48
    (IPv6Network("::/96"), 0),  # IPv4-compatible, RFC 4291, deprecated
)

_NEVER_GLOBAL = (IPv4Network("192.88.99.0/24"), IPv4Network("100.64.0.0/10"))

BAD_PORTS = frozenset(
    {
        0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95,
        101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179,
        389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601,
        636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566,
        6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
    }
)  # fmt: skip
"""WHATWG Fetch, "bad port": what browsers refuse."""


class AddressGuard:
    """Refuses private addresses, but for what the person allowed.

    `named` are the host names, without port, of the person's own seeds. `private` says which hosts
    may have private addresses: "seeds", "never" or "any". `networks` are allowed to anyone.

    A seed that stands for a name is trusted with the kind of address it had when it was first
    connected to: a public site that turns up on a loopback address later is not what was named.
    """

    def __init__(
        self,
        named: Iterable[str] = (),
        *,
        private: str = "seeds",
        networks: Iterable[IPv4Network | IPv6Network] = (),
    ) -> None:
        self._private = private
        self._first: dict[str, str | None] = dict.fromkeys(named)  # the kind it had at first
        self._networks = tuple(networks)

    def first_kind(self, host: str) -> str:
        """The kind of private address that a trusted host had at first; nothing: none."""
        return self._first.get(host) or ""

    def trust(self, host: str, kind: str) -> None:
        """Let a host have addresses of this private kind: a seed that has them redirects to it."""
        self._first.setdefault(host, kind)

    def judge_port(self, port: int) -> None:
        """Raises Forbidden for a port that is some other protocol's."""
        if port in BAD_PORTS:
            raise Forbidden(f"port {port}")

    def judge_literal(self, host: str) -> None:
        """Raises Forbidden for an address as a URL's host; a name is somebody else's to judge."""
        try:
            ip_address(host.partition("%")[0])
        except ValueError:
            return
        self.judge(host, host)

    def judge(self, host: str, address: str) -> None:
        """Raises Forbidden when `host`, found at `address`, is not to be connected to."""
        if self._private == "any":
            return
        kind = kind_of(address)
        if self._private == "seeds" and host in self._first:
            first = self._first[host]
            if first is None:
                first = self._first[host] = kind
            if kind == first or not kind:
                return
            raise Forbidden(f"address {address} is {kind}, the seed's was {first or 'public'}")
        if kind and not self._allowed(address):
            raise Forbidden(f"address {address} is {kind}")

    def _allowed(self, address: str) -> bool:
        if not self._networks:
            return False
        ip = ip_address(address.partition("%")[0])
        inner = _embedded(ip) if isinstance(ip, IPv6Address) else None
        return any(
            one.version == net.version and one in net
            for one in (ip, inner)
            if one is not None
            for net in self._networks
        )


def networks(given: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks as a setting names them. Raises ConfigError."""
    try:
        return tuple(ip_network(one) for one in given)
    except ValueError as error:
        raise ConfigError(f"fetch.allow_networks: {error}") from error


@lru_cache(maxsize=4096)
def kind_of(address: str) -> str:
    """Nothing for an address of the public Internet, else what it is."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        inner = _embedded(ip)
        if inner is not None:
            return kind_of(str(inner))
    for name in (
        "unspecified",
        "loopback",
        "link_local",
        "multicast",
        "private",
        "site_local",
        "reserved",
    ):
        if getattr(ip, f"is_{name}", False):
            return name.replace("_", "-")
    if not ip.is_global or any(ip in net for net in _NEVER_GLOBAL if ip.version == net.version):
        return "not global"
    return ""


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.teredo is not None:
        return ip.teredo[1]
    for network, shift in _EMBEDDING:
        if ip in network and int(ip) > 1:  # :: and ::1 speak for themselves
            return IPv4Address(int(ip) >> shift & 0xFFFFFFFF)
    return None
