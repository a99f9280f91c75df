"""A web service that leaks with each request, and that SIGTERM ends at once: web.py PORT."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LEAK = []


class Handler(BaseHTTPRequestHandler):
    """Answers, and keeps 256 KiB for good."""

    def do_GET(self):  # noqa: N802 - the name is given
        LEAK.append(bytes(b"x" * (256 << 10)))
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_):
        """Log nothing."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
