"""Loading MNIST: every source, everything that can be wrong with it, and the class Digits."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import socketserver
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets import MNIST

from mnist_course import data
from mnist_course.data import DataError, DataWarning, Digits

SIZES = {"train": 60, "test": 24}
STEMS = {"train": "train", "test": "t10k"}


def idx(values: np.ndarray) -> bytes:
    """An array of bytes in the IDX format."""
    header = np.array([0x800 + values.ndim, *values.shape], ">i4")
    return header.tobytes() + values.astype(np.uint8).tobytes()


def small_mnist() -> dict[str, bytes]:
    """The four files of a data set in MNIST's format, with a few random digits."""
    random = np.random.default_rng(0)
    files = {}
    for split, count in SIZES.items():
        images = random.integers(0, 256, (count, 28, 28))
        files[f"{STEMS[split]}-images-idx3-ubyte"] = idx(images)
        files[f"{STEMS[split]}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return files


FILES = small_mnist()
PACKED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in FILES.items()}
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


class Mirror:
    """A mirror on this machine that counts what it is asked; `answer` may be replaced."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                mirror.requests.append(name)
                status, body, length = mirror.answer(name)
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/mnist/"
        # Polled often, so that shutting down takes no time.
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, name: str) -> tuple[int, bytes, int]:
        return 200, PACKED[name], len(PACKED[name])

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, no mirrors, small sizes, and nothing remembered from other tests."""
    folder = tmp_path / "cache" / "MNIST" / "raw"
    monkeypatch.delenv(data.VARIABLE, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(data, "_cache", lambda: folder)
    monkeypatch.setattr(data, "_SPLITS", {s: (STEMS[s], SIZES[s]) for s in SIZES})
    checksums = {name: zlib.crc32(content) for name, content in FILES.items()}
    monkeypatch.setattr(data, "_CHECKSUMS", checksums)
    monkeypatch.setattr(data, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(MNIST, "mirrors", [])
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in PACKED.items()]
    monkeypatch.setattr(MNIST, "resources", resources)
    data._download.cache_clear()
    data._warn_once.cache_clear()
    yield folder
    data._download.cache_clear()
    data._warn_once.cache_clear()


@pytest.fixture
def mirrors(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Mirror]]:
    """Two mirrors that have the small data set."""
    both = [Mirror(), Mirror()]
    monkeypatch.setattr(MNIST, "mirrors", [mirror.url for mirror in both])
    yield both
    for mirror in both:
        mirror.close()


@pytest.fixture
def folder(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MNIST_COURSE_DATA points to a folder with the small data set; this is its MNIST/raw."""
    raw = tmp_path / "mine" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in FILES.items():
        (raw / name).write_bytes(content)
    monkeypatch.setenv(data.VARIABLE, str(tmp_path / "mine"))
    return raw


def assert_is_small_mnist(digits: Digits, split: str = "train") -> None:
    count = SIZES[split]
    assert digits.images.shape == (count, 1, 28, 28)
    assert digits.images.dtype == torch.uint8
    assert digits.images.numpy().tobytes() == FILES[f"{STEMS[split]}-images-idx3-ubyte"][16:]
    assert digits.labels.dtype == torch.int64
    assert digits.labels.tolist() == [i % 10 for i in range(count)]
    assert digits.source == "MNIST"


def assert_error_is_one_line(error: pytest.ExceptionInfo[DataError], *parts: object) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def data_warnings(caught: pytest.WarningsRecorder) -> list[warnings.WarningMessage]:
    return [warning for warning in caught if issubclass(warning.category, DataWarning)]


# --- MNIST_COURSE_DATA ---


@pytest.mark.parametrize("split", SIZES)
def test_the_folder_is_read(folder: Path, split: str) -> None:
    assert data.available() == "folder"
    assert_is_small_mnist(data.load(split), split)


def test_the_folder_may_hold_packed_files(folder: Path) -> None:
    for name, content in PACKED.items():
        (folder / name).write_bytes(content)
        (folder / name.removesuffix(".gz")).unlink()
    assert data.available() == "folder"
    assert_is_small_mnist(data.load("train"))


@pytest.mark.parametrize("files", [FILES, PACKED], ids=["plain", "packed"])
def test_a_dot_in_the_names_for_a_hyphen_is_the_same(folder: Path, files: dict[str, bytes]) -> None:
    for name in FILES:
        (folder / name).unlink()
    for name, content in files.items():
        (folder / name.replace("-idx", ".idx")).write_bytes(content)
    assert data.available() == "folder"
    assert_is_small_mnist(data.load("train"))


@pytest.mark.parametrize("swapped", [PACKED, FILES])
def test_packed_or_not_is_seen_from_the_content_not_from_the_name(
    folder: Path, swapped: dict[str, bytes]
) -> None:
    """Browsers unpack files and leave them their names, or the other way round."""
    for name in FILES:
        (folder / name).unlink()
        other = name if swapped is PACKED else f"{name}.gz"
        (folder / other).write_bytes({**PACKED, **FILES}[f"{name}.gz" if other == name else name])
    assert_is_small_mnist(data.load("train"))


def test_the_digits_may_be_changed_in_place(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load().images.zero_()
    assert_is_small_mnist(data.load())


def test_an_unset_or_empty_variable_means_the_cache(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.mkdir(parents=True)
    folder.rename(cache)
    monkeypatch.setenv(data.VARIABLE, "")
    assert data.available() == "cache"
    assert_is_small_mnist(data.load("test"), "test")


@pytest.mark.parametrize("call", [data.load, data.available])
def test_a_wrong_folder_is_an_error_even_if_the_mirrors_answer(
    mirrors: list[Mirror], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: object
) -> None:
    monkeypatch.setenv(data.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(DataError) as error:
        call()  # type: ignore[operator]
    assert_error_is_one_line(
        error, data.VARIABLE, tmp_path / "nowhere", IMAGES, "MNIST/raw", "stand-in", "unset it"
    )
    assert not mirrors[0].requests


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError) as error:
        data.load("train")
    assert_error_is_one_line(error, folder / "t10k-labels-idx1-ubyte", "does not exist")


def test_an_unknown_split_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r'"train" or "test", got \'validation\'.*split\(\)'):
        data.load("validation")


# --- Damaged files ---

DAMAGES = {
    "cut short": (IMAGES, FILES[IMAGES][:-1], "is cut short: 47,055 bytes, expected 47,056"),
    "too long": (LABELS, FILES[LABELS] + b"\0", "is too long: 69 bytes, expected 68"),
    "without values": (IMAGES, FILES[IMAGES][:10], "has only 10 bytes, expected 47,056"),
    "empty": (LABELS, b"", "has only 0 bytes, expected 68"),
    "labels for images": (IMAGES, FILES[LABELS], "magic number 2049, expected 2051"),
    "a page of text": (LABELS, b"<html>please log in</html>", "magic number"),
    "the other split": (
        IMAGES, FILES["t10k-images-idx3-ubyte"], "is of shape (24, 28, 28), expected (60, 28, 28)"
    ),
    "images of another size": (
        IMAGES, idx(np.zeros((60, 32, 32))), "is of shape (60, 32, 32), expected (60, 28, 28)"
    ),
    "fewer labels than images": (LABELS, idx(np.zeros(59)), "shape (59,), expected (60,)"),
    "labels out of range": (LABELS, idx(np.full(60, 10)), "holds the label 10, expected digits 0"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "problem"), DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_file_is_an_error(folder: Path, name: str, content: bytes, problem: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        data.load("train")
    assert_error_is_one_line(error, folder / name, problem, "delete it and download it again")


@pytest.mark.parametrize(
    "content",
    [
        PACKED[f"{IMAGES}.gz"][:-100],
        b"not packed at all",
        PACKED[f"{IMAGES}.gz"][:30] + b"\xff" * 99,
    ],
    ids=["cut short", "not packed", "damaged inside"],
)
def test_a_damaged_packed_file_is_an_error(folder: Path, content: bytes) -> None:
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}.gz").write_bytes(content)
    with pytest.raises(DataError) as error:
        data.load("train")
    assert_error_is_one_line(error, folder / f"{IMAGES}.gz", "cannot be read", "download it again")


FOREIGN = {
    "a web page": b"<!doctype html><title>Please log in</title>",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 47040016\n",
}


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(("kind", "content"), FOREIGN.items(), ids=list(FOREIGN))
def test_another_kind_of_file_is_called_what_it_is(
    folder: Path, kind: str, content: bytes, ending: str
) -> None:
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}{ending}").write_bytes(content)
    with pytest.raises(DataError) as error:
        data.load("train")
    assert_error_is_one_line(error, folder / IMAGES, kind)


def test_no_more_is_read_than_is_expected(folder: Path) -> None:
    with (folder / IMAGES).open("ab") as file:
        try:
            file.truncate(40 << 30)
        except OSError:
            pytest.skip("no file with holes here")
    packed = gzip.compress(FILES[LABELS] + bytes(100 << 20))
    (folder / LABELS).write_bytes(packed)
    tracemalloc.start()
    try:
        for file, problem in ((IMAGES, "too long: 42,949,672,960 bytes"), (LABELS, "too long: ")):
            with pytest.raises(DataError) as error:
                data.load("train")
            assert_error_is_one_line(error, folder / file, problem)
            (folder / file).write_bytes(FILES[file])
        (folder / LABELS).write_bytes(b"\x1f\x8b")
        os.truncate(folder / LABELS, 40 << 30)
        with pytest.raises(DataError, match="cannot be read"):
            data.load("train")
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "x" * 5000, "x" * 300])
@pytest.mark.parametrize("call", [data.load, data.available])
def test_a_folder_that_cannot_be_is_an_error_that_names_the_variable(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: Callable[[], object]
) -> None:
    monkeypatch.setenv(data.VARIABLE, name)
    with pytest.raises(DataError) as error:
        call()
    assert_error_is_one_line(error, f"{data.VARIABLE} is {name!r}", "stand-in", "unset it")


def test_a_folder_that_may_not_be_looked_into_is_an_error_that_names_the_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(DataError) as error:
        data.load()
    assert_error_is_one_line(error, data.VARIABLE, "Permission denied", "unset it")


# --- Another data set under the same names ---


def transposed(content: bytes) -> bytes:
    images = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)
    return idx(images.transpose(0, 2, 1))


OTHERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "other pictures": (IMAGES, lambda c: c[:16] + c[16:][::-1]),
    "transposed, as in EMNIST": (IMAGES, transposed),
    "half of it zero": (IMAGES, lambda c: c[: len(c) // 2] + bytes(len(c) - len(c) // 2)),
    "other labels": (LABELS, lambda c: c[:8] + c[8:][::-1]),
    "one pixel": (IMAGES, lambda c: c[:-1] + bytes([c[-1] ^ 1])),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("name", "change"), OTHERS.values(), ids=list(OTHERS))
def test_files_that_are_not_those_of_mnist_are_not_called_mnist(
    folder: Path, name: str, change: Callable[[bytes], bytes], packed: bool
) -> None:
    content = change(FILES[name])
    (folder / name).write_bytes(gzip.compress(content) if packed else content)
    with pytest.warns(DataWarning, match="the train files in .* are another data set") as caught:
        sources = {data.load("train").source for _ in range(2)}
    assert sources == {f"IDX files in {folder}, not MNIST"}
    assert len(data_warnings(caught)) == 1
    assert "\n" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_is_small_mnist(data.load("test"), "test")


def test_a_damaged_file_of_the_cache_is_not_called_mnist(
    mirrors: list[Mirror], cache: Path
) -> None:
    data.load()
    name, change = OTHERS["half of it zero"]
    (cache / name).write_bytes(change(FILES[name]))
    with pytest.warns(DataWarning, match="delete them and download them again"):
        assert data.load().source == f"IDX files in {cache}, not MNIST"


# --- The mirrors ---


def test_all_files_are_downloaded_once_and_kept(mirrors: list[Mirror], cache: Path) -> None:
    assert data.available() == "none"
    for split in SIZES:
        assert_is_small_mnist(data.load(split), split)
    assert data.available() == "cache"
    assert sorted(mirrors[0].requests) == sorted(PACKED)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == FILES


def test_only_what_the_cache_lacks_is_downloaded(mirrors: list[Mirror], cache: Path) -> None:
    data.load()
    data._download.cache_clear()
    mirrors[0].requests.clear()
    (cache / LABELS).unlink()
    assert_is_small_mnist(data.load())
    assert mirrors[0].requests == [f"{LABELS}.gz"]


def forbidden(name: str) -> tuple[int, bytes, int]:
    return 403, b"no", 2


def half(name: str) -> tuple[int, bytes, int]:
    body = PACKED[name]
    return 200, body[: len(body) // 2], len(body)


def another(name: str) -> tuple[int, bytes, int]:
    body = gzip.compress(b"<html>please log in</html>")
    return 200, body, len(body)


FAILURES = {"it answered 403": forbidden, "broke off": half, "wrong checksum": another}


@pytest.mark.parametrize("answer", FAILURES.values(), ids=[f.__name__ for f in FAILURES.values()])
def test_a_mirror_that_fails_is_replaced_by_the_next(
    mirrors: list[Mirror], cache: Path, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(mirrors[0], "answer", answer)
    assert_is_small_mnist(data.load())
    asked = Counter(mirrors[0].requests)
    assert asked == {f"{IMAGES}.gz": 1 if answer is forbidden else data._ATTEMPTS}
    assert {path.name for path in cache.iterdir()} == set(FILES)


@pytest.mark.parametrize(("why", "answer"), FAILURES.items(), ids=list(FAILURES))
def test_where_every_mirror_fails_the_stand_in_says_why(
    mirrors: list[Mirror], cache: Path, monkeypatch: pytest.MonkeyPatch, why: str, answer: object
) -> None:
    for mirror in mirrors:
        monkeypatch.setattr(mirror, "answer", answer)
    with pytest.warns(DataWarning, match=why) as caught:
        digits = data.load()
    (warning,) = data_warnings(caught)
    assert warning.filename == __file__  # it points to the line that loads
    assert "\n" not in str(warning.message)
    assert digits.source == "UCI digits (stand-in)"
    assert not cache.exists() or not list(cache.iterdir())


def test_a_transfer_that_breaks_off_is_tried_again(
    mirrors: list[Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mirrors[0].answer

    def first_half_then_whole(name: str) -> tuple[int, bytes, int]:
        return half(name) if mirrors[0].requests.count(name) == 1 else whole(name)

    monkeypatch.setattr(mirrors[0], "answer", first_half_then_whole)
    assert_is_small_mnist(data.load())
    assert not mirrors[1].requests


def test_a_response_without_end_is_given_up(
    mirrors: list[Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_LARGEST", 1000)
    monkeypatch.setattr(data, "_PIECE", 100)
    monkeypatch.setattr(MNIST, "mirrors", [mirrors[0].url])
    with pytest.warns(DataWarning, match="1,100 bytes with a wrong checksum"):
        data.load()


def raw_mirror(act: Callable[[BinaryIO], None]) -> socketserver.ThreadingTCPServer:
    """A server that answers as ``act`` writes; ``requests`` counts what it is asked."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            server.requests += 1
            while self.rfile.readline().strip():
                pass
            with contextlib.suppress(OSError):  # the client is gone
                act(self.wfile)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close, server.requests = True, False, 0
    server.url = f"http://127.0.0.1:{server.server_address[1]}/"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


OK = b"HTTP/1.1 200 OK\r\n"


def drip(file: BinaryIO, start: bytes, letter: bytes, seconds: float = 60) -> None:
    file.write(start)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        file.write(letter)
        time.sleep(0.05)


DRIPS = {
    "without a length": lambda file: drip(file, OK + b"\r\n", b"x"),
    "with a length": lambda file: drip(file, OK + b"Content-Length: 40000\r\n\r\n", b"x"),
    "in chunks": lambda file: drip(file, OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "within the length of a chunk": lambda file: drip(
        file, OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"
    ),
    "within its head": lambda file: drip(file, OK, b"x"),
    "nothing": lambda file: drip(file, OK + b"\r\n", b""),
}


@pytest.mark.parametrize("act", DRIPS.values(), ids=list(DRIPS))
def test_a_mirror_that_drips_is_given_up_for_the_next(
    mirrors: list[Mirror], monkeypatch: pytest.MonkeyPatch, act: Callable[[BinaryIO], None]
) -> None:
    monkeypatch.setattr(data, "_CONNECT_SECONDS", 0.6)
    monkeypatch.setattr(data, "_SLOW_SECONDS", 0.4)
    monkeypatch.setattr(data, "_SLOW_BYTES", 1000)
    slow = raw_mirror(act)
    monkeypatch.setattr(MNIST, "mirrors", [slow.url, mirrors[0].url])
    start = time.perf_counter()
    assert_is_small_mnist(data.load())
    assert time.perf_counter() - start < 4
    assert slow.requests == 1
    slow.shutdown()
    slow.server_close()


def test_why_a_slow_mirror_was_given_up_is_said(
    mirrors: list[Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_SLOW_SECONDS", 0.2)
    monkeypatch.setattr(data, "_SLOW_BYTES", 1000)
    slow = raw_mirror(DRIPS["with a length"])
    monkeypatch.setattr(MNIST, "mirrors", [slow.url])
    with pytest.warns(DataWarning, match="it sends less than 5 kB a second"):
        data.load()
    slow.shutdown()
    slow.server_close()


def test_a_slow_line_is_waited_for(mirrors: list[Mirror], monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it brings enough in each stretch of time, the whole may take many of them."""

    def trickle(file: BinaryIO) -> None:
        body = PACKED[f"{IMAGES}.gz"]
        file.write(OK + f"Content-Length: {len(body)}\r\n\r\n".encode())
        for start in range(0, len(body), 2000):
            file.write(body[start : start + 2000])
            time.sleep(0.02)

    monkeypatch.setattr(data, "_SLOW_SECONDS", 0.1)
    monkeypatch.setattr(data, "_SLOW_BYTES", 2000)
    slow = raw_mirror(trickle)
    start = time.perf_counter()
    content = data._fetch_from(slow.url, hashlib.md5(PACKED[f"{IMAGES}.gz"]).hexdigest())
    assert content == PACKED[f"{IMAGES}.gz"]
    assert time.perf_counter() - start > 0.3
    slow.shutdown()
    slow.server_close()


STRANGE = {
    "no HTTP": b"\x1b[31mHTTP?\x07\r\n\r\n",
    "a strange reason": b"HTTP/1.1 500 \x1b[31mred\x07\r\n\r\n",
    "a long reason": b"HTTP/1.1 500 " + b"x" * 5000 + b"\r\n\r\n",
    "a redirection to itself": b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    "a redirection to a file": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    "a redirection to data": b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1:9/x\r\n\r\n",
    "a head without end": OK + b"x" * 100_000,
}


@pytest.mark.parametrize("answer", STRANGE.values(), ids=list(STRANGE))
def test_whatever_a_mirror_says_the_warning_is_one_line_of_letters(
    mirrors: list[Mirror], monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    strange = raw_mirror(lambda file: file.write(answer) and None)
    monkeypatch.setattr(MNIST, "mirrors", [strange.url])
    with pytest.warns(DataWarning, match="no mirror gave") as caught:
        assert data.load().source == "UCI digits (stand-in)"
    (warning,) = data_warnings(caught)
    assert str(warning.message).isprintable()
    assert len(str(warning.message)) < 600
    strange.shutdown()
    strange.server_close()


def test_without_network_a_process_falls_back_once_and_soon(
    mirrors: list[Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One mirror refuses the connection, the other never answers.
    closed = Mirror()
    closed.close()
    monkeypatch.setattr(data, "_CONNECT_SECONDS", 0.2)
    hang = threading.Event()
    monkeypatch.setattr(mirrors[0], "answer", lambda name: (hang.wait(5), forbidden(name))[1])
    monkeypatch.setattr(MNIST, "mirrors", [closed.url, mirrors[0].url])
    start = time.perf_counter()
    with pytest.warns(DataWarning, match="no answer") as caught:
        first, second = data.load("train"), data.load("test")
    assert time.perf_counter() - start < 3
    hang.set()
    assert {first.source, second.source} == {"UCI digits (stand-in)"}
    assert len(data_warnings(caught)) == len(mirrors[0].requests) == 1
    assert data.available() == "none"


# --- A cache that cannot be written ---


def test_without_a_cache_folder_mnist_is_used_from_memory(
    mirrors: list[Mirror], cache: Path
) -> None:
    cache.parent.parent.parent.joinpath("cache").write_text(
        "a file where a folder should be", encoding="utf-8"
    )
    with pytest.warns(DataWarning, match="could not be kept in") as caught:
        for split in SIZES:
            digits = data.load(split)
            assert_is_small_mnist(digits, split)
            digits.images.zero_()  # does not change what is held in memory
            assert_is_small_mnist(data.load(split), split)
    assert len(data_warnings(caught)) == 1
    assert sorted(mirrors[0].requests) == sorted(PACKED)


def test_a_full_disk_leaves_nothing_half_written(mirrors: list[Mirror], cache: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.warns(DataWarning, match="could not be kept in"):
            digits = data.load("train")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_is_small_mnist(digits)
    # The labels are small enough to be kept, the images are not.
    assert {path.name for path in cache.iterdir()} == {n for n in FILES if "labels" in n}


# --- The stand-in ---


@pytest.fixture
def stand_in(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(data.VARIABLE, "stand-in")


@pytest.mark.usefixtures("stand_in")
def test_the_stand_in_can_be_asked_for_and_warns_once() -> None:
    assert data.available() == "stand-in"
    with pytest.warns(DataWarning, match="MNIST_COURSE_DATA asks for them") as caught:
        train, test = data.load("train"), data.load("test")
    assert len(data_warnings(caught)) == 1
    assert train.source == test.source == "UCI digits (stand-in)"
    assert (len(train), len(test)) == (1497, 300)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.filterwarnings("ignore::mnist_course.data.DataWarning")
class TestStandIn:
    def test_the_split_is_stratified_and_always_the_same(self) -> None:
        train, test = data.load("train"), data.load("test")
        assert test.labels.bincount().tolist() == [30] * 10
        assert train.labels.bincount().min() >= 140
        assert torch.equal(train.images, data.load("train").images)

    def test_no_digit_is_in_both_splits(self) -> None:
        images = torch.cat([data.load("train").images, data.load("test").images])
        from sklearn.datasets import load_digits

        distinct = len(np.unique(load_digits().data, axis=0))
        assert len(images.flatten(1).unique(dim=0)) == distinct

    def test_digits_are_of_the_shape_and_place_of_mnist(self) -> None:
        digits = data.load("train")
        assert digits.images.shape == (1497, 1, 28, 28)
        assert digits.images.dtype == torch.uint8
        assert digits.labels.dtype == torch.int64
        ink = digits.images[:, 0].double()
        place = torch.arange(28.0, dtype=torch.float64)
        for axis in (1, 2):
            centre = (ink.sum(axis) @ place) / ink.sum((1, 2))
            # As in MNIST: the shift is a whole number of pixels. Rounding to bytes adds a little.
            assert (centre - 14).abs().max() < 0.52
        heights = (ink > 0).any(2).sum(1)
        assert 18 <= heights.double().mean() <= 22

    def test_pixels_are_distributed_as_in_mnist(self) -> None:
        pixels = data.to_float(data.load("train").images)
        assert pixels.mean() == pytest.approx(data.MEAN, abs=0.01)
        assert pixels.std() == pytest.approx(data.STD, abs=0.02)
        assert (pixels.min(), pixels.max()) == (0, 1)

    def test_labels_belong_to_the_images(self) -> None:
        assert accuracy_of_class_means(data.load("train"), data.load("test")) > 0.8


def accuracy_of_class_means(train: Digits, test: Digits) -> float:
    """How often the nearest of the ten mean images of one set has the label of another's digit."""
    means = torch.stack([train.images[train.labels == k].float().mean(0) for k in range(10)])
    nearest = torch.cdist(test.images.float().flatten(1), means.flatten(1)).argmin(1)
    return float((nearest == test.labels).double().mean())


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_uci_digits_can_be_had_whatever_load_reads(
    folder: Path, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = data.uci_digits(split)
    assert digits.source == "UCI digits"
    monkeypatch.setenv(data.VARIABLE, data.STAND_IN)
    with pytest.warns(DataWarning, match="1,797 UCI digits"):
        stand_in = data.load(split)
    assert torch.equal(digits.images, stand_in.images)
    assert torch.equal(digits.labels, stand_in.labels)


def test_an_unknown_split_of_the_uci_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'validation'"):
        data.uci_digits("validation")


# --- Real MNIST ---


def real_mnist() -> bool:
    try:
        return data.available() in {"folder", "cache"}
    except DataError:
        return False


needs_mnist = pytest.mark.skipif(not real_mnist(), reason="no real MNIST on this machine")


@pytest.mark.mnist
@needs_mnist
def test_real_mnist_has_its_known_mean_and_deviation() -> None:
    train, test = data.load("train"), data.load("test")
    assert (len(train), len(test), train.source) == (60_000, 10_000, "MNIST")
    pixels = data.to_float(train.images)
    assert pixels.mean() == pytest.approx(data.MEAN, abs=5e-5)
    assert pixels.std() == pytest.approx(data.STD, abs=5e-5)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


@pytest.mark.mnist
@needs_mnist
def test_the_stand_in_resembles_mnist() -> None:
    # By chance it would be 0.1.
    assert accuracy_of_class_means(data.load("train"), data.uci_digits("train")) > 0.45


@pytest.mark.mnist
@needs_mnist
def test_loading_in_a_fresh_process_is_quick_and_imports_little() -> None:
    # CPU time, not wall-clock time: other processes may keep this one waiting.
    program = """
import sys, time, torch
start = time.process_time()
from mnist_course.data import load
load()
print(time.process_time() - start, *{"torchvision", "sklearn", "pandas"} & set(sys.modules))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    seconds, *modules = run.stdout.split()
    assert not modules
    assert float(seconds) <= 0.3


# --- Digits ---


def some_digits(count: int) -> Digits:
    """Digits whose first pixels tell them apart."""
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    return Digits(images, torch.arange(count) % 10, "numbers")


def numbers(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


counts = st.integers(1, 60)


@given(count=counts, batch_size=st.integers(1, 70), seed=st.none() | st.integers(0, 9))
def test_every_digit_comes_once_with_its_label(
    count: int, batch_size: int, seed: int | None
) -> None:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = list(some_digits(count).batches(batch_size, generator))
    seen = [n for images, _ in batches for n in numbers(images)]
    assert sorted(seen) == list(range(count))
    assert seen == list(range(count)) or generator is not None
    assert [n for _, labels in batches for n in labels.tolist()] == [n % 10 for n in seen]
    assert all(len(labels) == batch_size for _, labels in batches[:-1])


def test_the_generator_decides_the_order() -> None:
    def order(generator: torch.Generator) -> list[int]:
        return [n for images, _ in some_digits(50).batches(7, generator) for n in numbers(images)]

    generator = torch.Generator().manual_seed(1)
    first, second = order(generator), order(generator)
    assert first != second
    assert first == order(torch.Generator().manual_seed(1))


def test_batches_in_order_are_views() -> None:
    digits = some_digits(50)
    for images, labels in digits.batches(8):
        assert images.untyped_storage().data_ptr() == digits.images.untyped_storage().data_ptr()
        assert labels.untyped_storage().data_ptr() == digits.labels.untyped_storage().data_ptr()


def test_shuffled_batches_are_taken_whole_not_image_by_image() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.calls: Counter[str] = Counter()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore
            self.calls[function.__name__.partition(".")[0]] += 1
            return function(*args, **(kwargs or {}))

    digits = some_digits(50)
    with Count() as count:
        batches = list(digits.batches(8, torch.Generator().manual_seed(0)))
    assert count.calls["index"] == 2 * len(batches) == 14
    assert count.calls["stack"] == count.calls["cat"] == count.calls["select"] == 0


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_has_at_least_one_digit(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
        some_digits(5).batches(batch_size)


@given(count=st.integers(2, 60), part=st.floats(0, 1), seed=st.integers(0, 9))
def test_a_split_deals_every_digit_to_one_part(count: int, part: float, seed: int) -> None:
    validation = 1 + round(part * (count - 2))
    digits = some_digits(count)
    training, held_out = digits.split(validation, seed)
    assert len(held_out) == validation
    assert sorted(numbers(training.images) + numbers(held_out.images)) == list(range(count))
    for some in (training, held_out):
        assert some.labels.tolist() == [n % 10 for n in numbers(some.images)]
        assert some.source == digits.source
    assert torch.equal(digits.split(validation, seed)[0].images, training.images)


def test_a_split_holds_out_a_twelfth() -> None:
    training, held_out = some_digits(120).split()
    assert (len(training), len(held_out)) == (110, 10)
    assert [len(part) for part in some_digits(5).split()] == [4, 1]
    with pytest.raises(ValueError, match="at least 2 digits to split, got 1"):
        some_digits(1).split()


@pytest.mark.parametrize("validation", [-1, 0, 20, 5000])
def test_no_part_of_a_split_may_be_empty(validation: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 19 of these 20 digits .*got {validation}"):
        some_digits(20).split(validation)


@pytest.mark.parametrize(
    "index",
    [slice(2, 9, 3), [2, 5, 8], torch.tensor([2, 5, 8]), torch.arange(10).remainder(3) == 2],
    ids=["slice", "list", "positions", "mask"],
)
def test_digits_can_be_chosen(index: slice | list[int] | torch.Tensor) -> None:
    chosen = some_digits(10)[index]
    assert numbers(chosen.images) == chosen.labels.tolist() == [2, 5, 8]
    assert (len(chosen), chosen.source) == (3, "numbers")


def test_digits_move_to_a_device() -> None:
    moved = some_digits(3).to("meta")
    assert moved.images.device.type == moved.labels.device.type == "meta"
    assert moved.source == "numbers"


def test_digits_without_numbers_are_not_used() -> None:
    with pytest.raises(TypeError, match=r"images as a plain tensor, .* on the device 'meta'"):
        data.check_digits(some_digits(3).to("meta"), "images", "labels")


def test_bytes_become_pixels_from_0_to_1() -> None:
    pixels = data.to_float(torch.tensor([[0, 51, 255]], dtype=torch.uint8))
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, torch.tensor([[0, 0.2, 1]]))
