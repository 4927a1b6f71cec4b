"""The server of the built book: what it answers, and which ports it takes."""

import http.client
import socket
import struct
import sys
import threading
from collections.abc import Iterator

import pytest

from tools import book, serve


@pytest.fixture
def port(tmp_path, monkeypatch) -> Iterator[int]:
    """The port of a server of a book with one page."""
    (tmp_path / "index.html").write_text("the book", encoding="utf-8")
    monkeypatch.setattr(serve, "HTML", tmp_path)
    with serve.server(0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/no", 404), ("/%00", 400), ("/a%00/b?c", 400), ("/" + "x" * 5000, 404)],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_address_has_an_answer(port, capfd, method, path, status) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    assert connection.getresponse().status == status
    connection.close()
    assert capfd.readouterr().err == ""


def test_a_browser_that_hangs_up_is_no_traceback(port, capfd) -> None:
    before = threading.active_count()
    for _ in range(20):
        client = socket.create_connection(("127.0.0.1", port))
        # Hang up with a reset, as a browser does that leaves a page which still loads.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"GET / HTTP/1.0\r\n")
        client.close()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    connection.getresponse().read()
    connection.close()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and threading.active_count() > before:
            thread.join(0.5)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("wrong", ["70000", "65536", "-1", "http", "", "1e3"])
def test_a_port_that_is_none_is_refused_in_a_line_before_anything_is_built(
    monkeypatch, capsys, wrong
) -> None:
    monkeypatch.setattr(book, "build", lambda: pytest.fail("the book was built"))
    monkeypatch.setattr(sys, "argv", ["serve", "--build", f"--port={wrong}"])
    assert serve.main() == 2
    assert capsys.readouterr().err == f"expected a port from 0 to 65535, got {wrong!r}\n"


def test_make_asks_for_the_port_before_it_builds() -> None:
    recipe = (
        (book.ROOT / "Makefile")
        .read_text(encoding="utf-8")
        .partition("\nbook:")[2]
        .partition("\n\n")[0]
    )
    assert recipe.index("tools.serve --build --port $(PORT)") < recipe.index("tools.book")


def test_a_book_that_cannot_be_built_is_not_served(monkeypatch) -> None:
    monkeypatch.setattr(book, "build", lambda: 3)
    monkeypatch.setattr(sys, "argv", ["serve", "--build"])
    assert serve.main() == 3


def test_the_last_ports_are_ports(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(serve, "HTML", tmp_path)
    with serve.server(65_535) as first, serve.server(65_535) as second:
        assert second.server_port != first.server_port
