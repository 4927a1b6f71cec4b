"""Serve the built book on this machine: ``python -m tools.serve [--port 8000]``."""

from __future__ import annotations

import argparse
import functools
import http.server
import sys

from tools.book import HTML


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing for each request."""


def server(port: int) -> http.server.ThreadingHTTPServer:
    """A server of the built book; if ``port`` is taken, on the next one that is free."""
    handler = functools.partial(_Quiet, directory=str(HTML))
    for candidate in range(port, port + 20):
        try:
            return http.server.ThreadingHTTPServer(("127.0.0.1", candidate), handler)
        except OSError:
            continue
    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


def main() -> int:
    """Command line: serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tools.serve", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="first port to try (8000)")
    options = parser.parse_args()
    if not (HTML / "index.html").exists():
        print("There is no book to serve yet: run  make book", file=sys.stderr)
        return 1
    with server(options.port) as site:
        print(f"The book: http://127.0.0.1:{site.server_port}/   (Ctrl-C to stop)", flush=True)
        try:
            site.serve_forever()
        except KeyboardInterrupt:
            print("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
