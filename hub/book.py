"""Serve the built book to a class: ``python hub/book.py FOLDER``, which JupyterHub starts.

The hub says in its variables where, and under which path: ``/services/book/``. Anyone who reaches
the hub can read the book, and nobody can change it.
"""

from __future__ import annotations

import functools
import http.server
import os
import sys
from typing import Any
from urllib.parse import urlsplit


class Handler(http.server.SimpleHTTPRequestHandler):
    """The files of a folder, below the path that the hub has given."""

    def __init__(self, *arguments: Any, prefix: str, **named: Any) -> None:
        self.prefix = prefix
        super().__init__(*arguments, **named)

    def send_head(self) -> Any:
        """Take the hub's path from the address; what is not below it is not there."""
        if self.path == self.prefix.rstrip("/"):
            self.send_response(http.HTTPStatus.MOVED_PERMANENTLY)
            self.send_header("Location", self.prefix)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        if not self.path.startswith(self.prefix):
            self.send_error(http.HTTPStatus.NOT_FOUND)
            return None
        self.path = "/" + self.path.removeprefix(self.prefix)
        try:
            return super().send_head()
        except ValueError:  # a zero byte in the address
            self.send_error(http.HTTPStatus.BAD_REQUEST)
            return None

    def list_directory(self, path: object) -> None:
        """Do not list what lies in a folder."""
        self.send_error(http.HTTPStatus.NOT_FOUND)

    def log_message(self, *_: object) -> None:
        """Do not report each request: the hub's log is for what goes wrong."""


def server(folder: str, url: str, prefix: str) -> http.server.ThreadingHTTPServer:
    """A server of a folder at the host and port of a URL."""
    place = urlsplit(url)
    handler = functools.partial(Handler, directory=folder, prefix=prefix)
    return http.server.ThreadingHTTPServer(
        (place.hostname or "127.0.0.1", place.port or 0), handler
    )


if __name__ == "__main__":
    with server(
        sys.argv[1], os.environ["JUPYTERHUB_SERVICE_URL"], os.environ["JUPYTERHUB_SERVICE_PREFIX"]
    ) as site:
        site.serve_forever()
