"""A demo web in its own process, for the duration of a `with` block."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from crawler.demo.options import SWITCHES, DemoOptions, options
from crawler.demo.web import Web
from crawler.errors import ConfigError

STOP_TIMEOUT_S = 10.0  # seconds to end after SIGTERM; then it is killed


class DemoWeb:
    """Starts the demo web, waits until it answers, and stops it on leaving.

    Flags as on the command line: `DemoWeb(pages=500, latency=0.05, log=path)`. The web ends when
    this process does, however it dies: it reads a pipe whose other end closes then.
    """

    def __init__(self, **flags: Any) -> None:
        self._flags = {name: str(v) if isinstance(v, Path) else v for name, v in flags.items()}
        self.options: DemoOptions = options(self._flags)
        self.url = ""
        self._child: subprocess.Popen[str] | None = None

    def __repr__(self) -> str:
        return f"<DemoWeb {self.url or 'not started'} pages={self.options.web.pages}>"

    @property
    def web(self) -> Web:
        """The description, with the port that was chosen."""
        port = int(self.url.rstrip("/").rpartition(":")[2]) if self.url else self.options.web.port
        return msgspec.structs.replace(self.options.web, port=port)

    @property
    def pid(self) -> int:
        """The process's id; the others of `processes` are its children."""
        if self._child is None:
            raise RuntimeError("the demo web is not started")
        return self._child.pid

    def start(self) -> None:
        """Start and wait for the address. Raises ConfigError with the web's error message."""
        root = str(Path(__file__).parents[2])  # the child must find this very package
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._child = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
            [sys.executable, "-m", "crawler.demo.demo_server", "--until-eof", *self._arguments()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            _, complaint = self._child.communicate()
            self._child = None
            raise ConfigError(complaint.strip() or "the demo web ended at once")
        self.url = line.strip()

    def stop(self) -> None:
        """Stop it and wait; nothing happens when it has already ended."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            _, errors = child.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            _, errors = child.communicate()
        sys.stderr.write(errors)  # nothing, unless the web has a bug: that must not stay unseen

    def requests(self) -> Iterator[dict[str, Any]]:
        """The lines of the access log; complete once the web has been stopped."""
        if self.options.log is None:
            raise RuntimeError("the demo web was started without a log")
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        with Path(self.options.log).open("rb") as lines:
            for line in lines:
                yield decode(line)

    def _arguments(self) -> Iterator[str]:
        for name, value in self._flags.items():
            flag = name.replace("_", "-")
            if flag in SWITCHES:
                if value:
                    yield f"--{flag}"
            elif value is not None:
                yield f"--{flag}={value}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
