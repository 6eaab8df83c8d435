"""Real documentation, served by nginx on loopback: pages not made for this benchmark.

with Nginx(documentation()["postgresql"]) as site:
    ...  site.url, site.requests()["/index.html"]
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from crawler.errors import ConfigError
from crawler.utils.parent_death import tethered

START_STOP_TIMEOUT_S = 10.0  # seconds to start, and again to stop
PORT_TRIES = 5  # nginx binds for itself, so another may be faster
DOCUMENTATION = {  # what to install: the packages of these names in Debian and Ubuntu
    "postgresql": ("share/doc/postgresql-doc-15/html", "index.html"),
    "python": ("share/doc/python3.11/html", "index.html"),
    "apache": ("share/doc/apache2-doc/manual/en", "index.html"),
    "openjdk": ("share/doc/openjdk-17-doc/api", "index.html"),
    "git": ("share/doc/git-doc", "index.html"),
    "sqlite": ("share/doc/sqlite3", "index.html"),
}
LOG_MARK = "/--mark--"
LOG_FORMAT = "$msec\t$connection\t$status\t$body_bytes_sent\t$host\t$request_uri"
ECHO_MODULE = Path(
    "/usr/lib/nginx/modules/ngx_http_echo_module.so"
)  # Debian: libnginx-mod-http-echo
CONFIG = """\
{late}
daemon off;
worker_processes {workers};
pid "{folder}/nginx.pid";
error_log "{folder}/error.log" warn;
{user}
events {{ worker_connections 4096; }}
http {{
    types {{
        text/html html htm; text/css css; application/javascript js; image/png png;
        image/gif gif; image/svg+xml svg; image/jpeg jpg jpeg; text/plain txt;
        application/xml xml; application/json json; application/pdf pdf;
    }}
    default_type application/octet-stream;
    charset utf-8;
    log_format tabs "{log}";
    access_log {access};
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    open_file_cache max=20000 inactive=60s;
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root "{root}";
        index index.html index.htm;
        {wait}
    }}
}}
"""
DELAY_CONFIG = """location / {{ echo_sleep {delay}; echo_exec @file; }} location @file {{ }}"""


def binary() -> str | None:
    """Where nginx is; None: not installed. Debian keeps it off the path of ordinary users."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def documentation() -> dict[str, Path]:
    """The folders of HTML documentation that are on this computer, by a short name."""
    found = {}
    for name, (folder, index) in DOCUMENTATION.items():
        root = Path("/usr") / folder
        if (root / index).is_file():
            found[name] = root
    return found


def unavailable_reason(*names: str) -> str | None:
    """Why these documentations cannot be served, in words for a skip; None: they can."""
    if binary() is None:
        return "nginx is not installed"
    missing = sorted(set(names) - documentation().keys())
    return f"documentation is not installed: {', '.join(missing)}" if missing else None


class Nginx:
    """Serves a folder on a free port of 127.0.0.1, with a config, pid and log of its own.

    `delay`: seconds before each response, without CPU time; needs nginx' echo module.
    `log=False` spares the access log, for measuring. Everything it writes lies in a temporary
    folder that goes with it. Start it in a thread that outlives it: the guard against being left
    behind is tied to the thread that started it.
    """

    def __init__(self, root: Path, *, log: bool = True, workers: int = 1, delay: float = 0) -> None:
        self.root, self.log, self.workers = root.resolve(), log, workers
        self.delay = delay
        self.url = ""
        self._marks = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Nginx {self.url or 'not started'} root={self.root}>"

    @property
    def pid(self) -> int:
        """The id of nginx' first process; the workers are its children."""
        if self._child is None:
            raise RuntimeError("nginx is not started")
        return self._child.pid

    def requests(self) -> Counter[str]:
        """How often each path was asked for, with its query, so far."""
        return Counter(line.rsplit("\t", 1)[1] for line in self.lines())

    def lines(self) -> list[str]:
        """The access log: time, connection, status, bytes, host and path, between tabs.

        nginx writes a line after the answer has gone, so we ask for a mark and read until its line
        is there; with one worker, the log is then complete.
        """
        if self._folder is None or not self.log:
            raise RuntimeError("no access log is kept, or nginx is not up")
        self._marks += 1
        mark = f"{LOG_MARK}{self._marks}"
        try:
            urllib.request.urlopen(self.url.rstrip("/") + mark, timeout=START_STOP_TIMEOUT_S)  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()  # there is no such file
        end = time.monotonic() + START_STOP_TIMEOUT_S
        lines: list[str] = []
        while not any(line.endswith("\t" + mark) for line in lines[-50:]):
            if time.monotonic() > end:
                raise RuntimeError("nginx does not write its log")
            lines = (Path(self._folder.name) / "access.log").read_text("utf-8").splitlines()
        return [line for line in lines if LOG_MARK not in line]

    def __enter__(self) -> Self:
        nginx = binary()
        if nginx is None:
            raise ConfigError("nginx is not installed")
        if not self.root.is_dir():
            raise ConfigError(f"{self.root}: no such folder")
        self._folder = tempfile.TemporaryDirectory(prefix="nginx-")
        complaint = ""
        for _ in range(PORT_TRIES):
            complaint = self._start(nginx, Path(self._folder.name), _free_port())
            if not complaint:
                return self
        self._folder.cleanup()
        self._folder = None
        raise ConfigError(f"nginx: {complaint}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _start(self, nginx: str, folder: Path, port: int) -> str:
        """Start it on a port and wait until it answers; what it complained of, or nothing."""
        config, pid = folder / "nginx.conf", folder / "nginx.pid"
        config.write_text(
            CONFIG.format(
                folder=folder,
                port=port,
                root=self.root,
                workers=self.workers,
                # Started by root, the workers would switch to a user who cannot read the folder.
                user="user root;" if os.geteuid() == 0 else "",
                log=LOG_FORMAT.replace("\t", "\\t"),
                late=f'load_module "{ECHO_MODULE}";' if self.delay else "",
                wait=DELAY_CONFIG.format(delay=self.delay) if self.delay else "",
                access=f'"{folder}/access.log" tabs' if self.log else "off",
            ),
            "utf-8",
        )
        command = [nginx, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
        self._child = subprocess.Popen(  # noqa: S603  (our own interpreter, then nginx)
            tethered(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        end = time.monotonic() + START_STOP_TIMEOUT_S
        while self._child.poll() is None and time.monotonic() < end:
            # It writes its pid once it has bound the port; a connection might reach another server.
            if pid.is_file() and pid.read_bytes():
                self.url = f"http://127.0.0.1:{port}/"
                return ""
            time.sleep(0.01)
        return self._stop() or "it did not start"

    def _stop(self) -> str:
        """Stop it and wait; the last line of what it complained of."""
        child, self._child, self.url = self._child, None, ""
        if child is None:
            return ""
        child.terminate()
        try:
            _, errors = child.communicate(timeout=START_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            _, errors = child.communicate()
        return errors.decode(errors="replace").strip().rpartition("\n")[2]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
