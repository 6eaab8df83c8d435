"""The sites of a benchmark: each a process of its own, started when first asked for, and kept.

An idle site needs only memory, and each round of an interleaved run needs it again.
"""

from __future__ import annotations

import contextlib
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import psutil

from crawler.bench.plan import WORKLOADS, Workload
from crawler.bench.sites import Nginx, documentation, unavailable_reason
from crawler.demo.process import DemoWeb
from crawler.demo.web import literal
from crawler.errors import ConfigError
from crawler.policy.urls import host_key


class BenchSite(msgspec.Struct, frozen=True, kw_only=True):
    """A running site. `urls`: all its pages; None: not known in advance."""

    url: str
    hosts: tuple[str, ...]
    urls: tuple[str, ...] | None
    pid: int
    ca: str | None = None  # the certificates to trust

    def cpu(self) -> float:
        """CPU seconds that it has used so far, its children's included."""
        used = 0.0
        first = psutil.Process(self.pid)
        for one in [first, *first.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                used += times.user + times.system
        return used


class SitePool:
    """Owns the sites."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._sites: dict[tuple[str, int, str], BenchSite] = {}

    def site(self, workload: str, pages: int, *, log: Path | None = None) -> BenchSite:
        """The site of a workload with so many pages. Raises ConfigError when it cannot be had."""
        key = (workload, pages, str(log or ""))
        if key not in self._sites:
            self._sites[key] = self._started(WORKLOADS[workload], pages, log)
        return self._sites[key]

    def _started(self, workload: Workload, pages: int, log: Path | None) -> BenchSite:
        if workload.docs:
            if reason := unavailable_reason(workload.docs):
                raise ConfigError(f"workload {workload.name}: {reason}")
            nginx = self._stack.enter_context(Nginx(documentation()[workload.docs], log=False))
            return BenchSite(url=nginx.url, hosts=(host_key(nginx.url),), urls=None, pid=nginx.pid)
        flags = workload.flags(pages)
        ca = None
        if workload.tls:
            ca, flags["tls"] = certificate(Path(self._folder.name), workload.hosts)
        demo = self._stack.enter_context(DemoWeb(**flags, log=log))
        web = demo.web
        hosts = tuple(host_key(web.origin(host) + "/") for host in range(web.hosts))
        return BenchSite(url=demo.url, hosts=hosts, urls=tuple(web.urls()), pid=demo.pid, ca=ca)

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="crawler-bench-")
        self._stack.enter_context(self._folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sites.clear()
        self._stack.close()


def certificate(folder: Path, hosts: int) -> tuple[str, str]:
    """A certificate authority made for this run, and a server's key with its certificate: paths."""
    try:
        import trustme  # noqa: PLC0415 - of the extra `bench`, 0.2 s
    except ImportError as error:
        raise ConfigError("TLS needs trustme: pip install 'crawler[bench]'") from error
    authority = trustme.CA()
    server = authority.issue_cert(*(literal(host) for host in range(hosts)))
    trusted, own = folder / "authority.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(str(trusted))
    server.private_key_and_cert_chain_pem.write_to_path(str(own))
    own.chmod(0o600)
    return str(trusted), str(own)
