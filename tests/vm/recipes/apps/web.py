"""A web service that leaks with each request, and that SIGTERM ends at once: web.py PORT."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LEAK: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    """Answers, and keeps 32 KiB for good."""

    def do_GET(self) -> None:
        LEAK.append(bytes(b"x" * (32 << 10)))
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
