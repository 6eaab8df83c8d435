"""A small web for the container test: 400 pages, a binary tree, each answered after 50 ms."""

import http.server
import time

PAGES = 400


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        number = self.path.strip("/") or "0"
        if not (number.isdigit() and int(number) < PAGES):
            self.send_error(404)
            return
        time.sleep(0.05)
        links = [n for n in (2 * int(number) + 1, 2 * int(number) + 2) if n < PAGES]
        body = (
            "".join(f"<a href=/{n}>{n}</a>" for n in links).encode() + b"<p>page " + number.encode()
        )
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Page).serve_forever()
