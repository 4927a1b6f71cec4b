"""Serve the built book on this machine: ``python -m tools.serve [--build] [--port 8000]``."""

from __future__ import annotations

import argparse
import functools
import http.server
import sys
from io import BytesIO
from typing import Any, BinaryIO

from tools import book
from tools.book import HTML


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def send_head(self) -> BytesIO | BinaryIO | None:
        """Answer 400 where the address cannot be a path."""
        try:
            return super().send_head()
        except ValueError:  # a zero byte in it
            self.send_error(http.HTTPStatus.BAD_REQUEST)
            return None

    def log_message(self, *_: object) -> None:
        """Do not report each request."""


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, address: Any) -> None:
        """Do not report a browser that hangs up, as it does whenever you leave a page early."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, address)


def server(port: int) -> http.server.ThreadingHTTPServer:
    """A server of the built book, on ``port`` or else the next port that is free."""
    handler = functools.partial(_Quiet, directory=str(HTML))
    for candidate in range(port, min(port + 20, 1 << 16)):
        try:
            return _Server(("127.0.0.1", candidate), handler)
        except OSError:
            continue
    return _Server(("127.0.0.1", 0), handler)


def main() -> int:
    """Command line: build the book if that is wanted, then serve it until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tools.serve", description=__doc__)
    parser.add_argument("--build", action="store_true", help="build the book first")
    parser.add_argument("--port", default="8000", help="first port to try (8000)")
    options = parser.parse_args()
    if not (options.port.isdecimal() and int(options.port) < 1 << 16):
        print(f"expected a port from 0 to 65535, got {options.port!r}", file=sys.stderr)
        return 2
    if options.build and (code := book.build()):
        return code
    if not (HTML / "index.html").exists():
        print("There is no book to serve yet: run  make book", file=sys.stderr)
        return 1
    with server(int(options.port)) as site:
        print(f"The book: http://127.0.0.1:{site.server_port}/   (Ctrl-C to stop)", flush=True)
        try:
            site.serve_forever()
        except KeyboardInterrupt:
            print("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
