"""Writing files whole or not at all, on every kind of disk, and saying what a file holds."""

import errno
import io
import multiprocessing
import os
import pickle
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_course import checkpoints, export, files, models
from mnist_course.files import WriteError, check_writable, kind_of_file, printable, write

on_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other rights and devices")


def failing(code: int) -> Callable[..., NoReturn]:
    """A call of the system that fails as it does for this reason."""

    def call(*_, **__):
        raise OSError(code, os.strerror(code))

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def old(tmp_path) -> Path:
    """A file that is to be replaced, alone in its folder."""
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    return path


def test_a_file_is_replaced_and_nothing_lies_beside_it(old) -> None:
    write(old, b"new")
    assert contents(old.parent) == {"weights": b"new"}
    write(old, "größer\n")
    assert contents(old.parent) == {"weights": "größer\n".encode()}


def test_folders_are_made(tmp_path) -> None:
    write(tmp_path / "a" / "b" / "c", b"new")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"new"


def test_any_name_that_a_file_may_have_will_do(tmp_path) -> None:
    for name in ("x" * 255, "数" * 85, "𝟟" * 63, "-", "a\nb", os.fsdecode(b"\xff\xfe"), "a*[b]"):
        try:
            (tmp_path / name).write_bytes(b"old")
        except (OSError, UnicodeError):
            continue  # not here
        write(tmp_path / name, b"new")
        assert contents(tmp_path) == {name: b"new"}
        (tmp_path / name).unlink()


@on_posix
def test_a_name_that_no_file_may_have_is_refused() -> None:
    with pytest.raises(WriteError, match="cannot hold the character NUL"):
        write("a\0b", b"new")


def test_a_link_stays_a_link(old) -> None:
    link = old.with_name("link")
    link.symlink_to(old)
    write(link, b"new")
    assert link.is_symlink()
    assert old.read_bytes() == b"new"


@on_posix
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002, 0o077])
def test_the_rights_are_those_of_any_new_file(tmp_path, umask) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "file", b"new")
        (tmp_path / "other").touch()
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~umask}


# --- Disks that cannot do everything ---

LACKING = {
    "rights": [(os, "chmod", errno.EPERM), (os, "fchmod", errno.EPERM)],
    "hard links": [(os, "link", errno.EPERM)],
    "locks": [("fcntl", "flock", errno.ENOLCK)],
    "waiting": [(os, "fsync", errno.EINVAL)],
    "looking into the folder": [(Path, "iterdir", errno.EACCES)],
    "renaming": [(Path, "replace", errno.ENOSYS), (Path, "rename", errno.ENOSYS)],
    "renaming over another": [(Path, "replace", errno.EPERM)],
    "renaming to a name that is taken": [(Path, "replace", errno.EEXIST)],
}


@on_posix
@pytest.mark.parametrize("lacking", LACKING.values(), ids=list(LACKING))
def test_a_disk_that_lacks_something_is_written_all_the_same(old, monkeypatch, lacking) -> None:
    import fcntl

    for place, name, code in lacking:
        monkeypatch.setattr(fcntl if place == "fcntl" else place, name, failing(code))
    write(old, b"new")
    write(old.with_name("another"), b"new")
    monkeypatch.undo()
    assert contents(old.parent) == {"weights": b"new", "another": b"new"}


def test_where_nothing_can_be_renamed_a_full_disk_gives_the_old_file_back(old, monkeypatch) -> None:
    write_bytes = Path.write_bytes

    def full(path, content):
        write_bytes(path, content[:2])
        if content == b"new":
            failing(errno.ENOSPC)()
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "replace", failing(errno.EPERM))
    monkeypatch.setattr(Path, "write_bytes", full)
    for path, left in ((old, {"weights": b"old"}), (old.with_name("x"), {"weights": b"old"})):
        with pytest.raises(WriteError, match="No space left on device"):
            write(path, b"new")
        assert contents(old.parent) == left


# --- Disks that fail ---


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", [(os, "open"), (os, "fdopen"), (os, "fsync"), (Path, "replace")])
def test_what_fails_leaves_the_old_file_and_says_why(old, monkeypatch, call, reason) -> None:
    if call == (os, "fdopen"):  # here it is the writing that fails, not the opening
        monkeypatch.setattr(*call, lambda *_: Failing(reason))
    else:
        monkeypatch.setattr(*call, failing(reason))
    with pytest.raises(WriteError) as raised:
        write(old, b"new")
    monkeypatch.undo()
    assert str(raised.value) == f"cannot write {old}: {os.strerror(reason)}"
    assert raised.value.errno == reason
    assert contents(old.parent) == {"weights": b"old"}


class Failing(io.BytesIO):
    """A file on a disk that fails."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def write(self, _) -> None:
        failing(self.code)()


def test_ctrl_c_leaves_the_old_file(old, monkeypatch) -> None:
    def press(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", press)
    with pytest.raises(KeyboardInterrupt):
        write(old, b"new")
    assert contents(old.parent) == {"weights": b"old"}


SMALL_DISK = """
import sys
from pathlib import Path
from mnist_course.files import WriteError, check_writable, write
folder = Path(sys.argv[1])
write(folder / "weights", b"old")
def tried(content):
    try:
        write(folder / "weights", content)
    except WriteError as error:
        print(error)
    print(sorted(path.name for path in folder.iterdir()), (folder / "weights").read_bytes()[:9])
tried(b"x" * 200_000)
tried(b"new")
import subprocess
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
tried(b"newer")
try:
    check_writable(folder / "other" / "weights")
except WriteError as error:
    print(error)
"""


def test_a_small_disk_and_one_that_is_read_only(tmp_path) -> None:
    mount = (
        f"mount -t tmpfs -o size=64k none {tmp_path} && exec {sys.executable} -c '{SMALL_DISK}' "
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount + str(tmp_path)]
    try:
        probe = [*command[:-1], f"mount -t tmpfs none {tmp_path}"]
        subprocess.run(probe, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here without being asked for a password")
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout.splitlines() == [
        f"cannot write {tmp_path}/weights: No space left on device",
        "['weights'] b'old'",
        "['weights'] b'new'",
        f"cannot write {tmp_path}/weights: Read-only file system",
        "['weights'] b'new'",
        f"cannot write {tmp_path}/other/weights: Read-only file system",
    ], result.stderr


# --- Places where no file can be ---


@on_posix
@pytest.mark.parametrize("act", [lambda path: write(path, b"new"), check_writable])
def test_what_is_no_place_for_a_file_is_named_and_left_alone(tmp_path, act) -> None:
    (tmp_path / "file").write_bytes(b"old")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    reasons = {
        "": "it is a folder",
        "file/x": "file is not a folder",
        "file/x/y": "is not a folder",
        "pipe": "it is a device or a pipe",
        "null": "it is a device or a pipe",
        "x" * 300: "File name too long",
    }
    before = sorted(tmp_path.iterdir())
    for name, reason in reasons.items():
        with pytest.raises(WriteError, match=reason) as raised:
            act(tmp_path / name)
        assert raised.value.filename == str(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_to_ask_whether_a_file_can_be_written_leaves_nothing_but_its_folder(old) -> None:
    check_writable(old)
    check_writable(old.with_name("new") / "x")
    assert list(old.with_name("new").iterdir()) == []
    assert old.read_bytes() == b"old"


# --- Several processes ---

HANGING = """
import sys, time
from mnist_course import files
def hang(*_):
    print("ready", flush=True)
    time.sleep(60)
files._put = hang
files.write(sys.argv[1], b"half")
"""


def hanging_writer(path: Path) -> subprocess.Popen:
    """Another process that is just about to put its file in the place of ``path``."""
    command = [sys.executable, "-c", HANGING, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@on_posix
@pytest.mark.parametrize("act", [lambda path: write(path, b"new"), check_writable])
def test_what_a_killed_process_left_is_cleared_away_but_not_what_a_living_one_writes(
    old, act
) -> None:
    others = {".weights.part", ".weights.x.part", ".weights.12345678", ".other.12345678.part"}
    for name in others:
        old.with_name(name).touch()
    killed, alive = hanging_writer(old), hanging_writer(old)
    killed.kill()
    killed.wait()
    try:
        assert len(set(contents(old.parent)) - others) == 3
        act(old)
        left = set(contents(old.parent)) - others - {"weights"}
        assert len(left) == 1
    finally:
        alive.kill()
        alive.wait()
    act(old)
    assert set(contents(old.parent)) == {"weights"} | others


def _write_often(path: Path, letter: bytes) -> None:
    for _ in range(30):
        write(path, letter * 300_000)


def test_processes_that_write_at_the_same_time_do_not_mix(tmp_path) -> None:
    path = tmp_path / "MNIST" / "file"
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    writers = [context.Process(target=_write_often, args=(path, x)) for x in (b"a", b"b")]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            seen.add(path.read_bytes())
        time.sleep(0.001)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen
    assert seen <= {b"a" * 300_000, b"b" * 300_000}
    assert list(path.parent.iterdir()) == [path]


# --- What a file holds ---


def torch_file(**options) -> bytes:
    content = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, content, **options)
    return content.getvalue()


def picture(format_: str) -> bytes:
    content = io.BytesIO()
    Image.new("L", (9, 9)).save(content, format_)
    return content.getvalue()


def archive() -> bytes:
    content = io.BytesIO()
    np.savez(content, np.zeros(3))
    return content.getvalue()


def tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        file.addfile(tarfile.TarInfo("x"))
    return content.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
FOREIGN = {
    "a PyTorch checkpoint": torch_file(),
    "a PyTorch checkpoint of an old format": torch_file(_use_new_zipfile_serialization=False),
    "a Python pickle": pickle.dumps({"weight": [1, 2, 3]}),
    "a zip archive": archive(),
    "a tar archive": tar(),
    "a web page": b"\n<!DOCTYPE html><html>Please log in</html>",
    "a text": "Zeichne eine Fünf.\n".encode() * 9,
    "an empty file": b"",
    "a pointer that Git LFS left": LFS,
    "a network for the drawing pad": export.page_weights(models.course_network((2, 2, 2)).eval()),
    "a gzip archive": b"\x1f\x8b\x08\0" + bytes(20),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(20),
    "a PDF document": b"%PDF-1.7\n",
} | {f"a picture: {name}": picture(name) for name in ("PNG", "JPEG", "GIF", "WEBP", "TIFF")}


@pytest.mark.parametrize(("kind", "content"), FOREIGN.items(), ids=list(FOREIGN))
def test_what_a_file_holds_is_said(tmp_path, kind, content) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    assert kind_of_file(path).startswith(kind.partition(":")[0])


def test_what_is_unclear_is_not_given_a_name(tmp_path) -> None:
    path = tmp_path / "file"
    for content in (bytes(100), torch_file()[:-100], os.urandom(100), b"\0\0\x08\x03" + bytes(60)):
        path.write_bytes(content)
        assert kind_of_file(path) == ""
    checkpoints.save_weights(torch.nn.Linear(2, 3), path)
    assert kind_of_file(path) == files.SAFETENSORS
    pytest.importorskip("onnx")
    path.write_bytes(export.to_onnx(models.course_network((2, 2, 2))))
    assert kind_of_file(path) == "an ONNX file"


def test_the_length_of_a_header_is_not_taken_for_the_mark_of_another_kind(tmp_path) -> None:
    path = tmp_path / "file"
    lengths = set()
    for length in range(0, 3000, 8):
        checkpoints.save_weights(torch.nn.Linear(1, 1), path, note="x" * length)
        lengths.add(path.read_bytes()[:2])
        assert kind_of_file(path) == files.SAFETENSORS
        os.truncate(path, 100)
        assert kind_of_file(path) == ""
    assert {b"\x80\x02", b"\x80\x04"} <= lengths


def test_a_line_for_the_terminal_holds_nothing_that_steers_it() -> None:
    assert printable("数字 é\t\n b") == "数字 é b"
    assert printable("\x1b[1mred\a\x7f") == r"\x1b[1mred\x07\x7f"
    assert printable(os.fsdecode(b"\xff")) in (r"\udcff", "ÿ")
    assert printable("\u202egnp.exe") == r"\u202egnp.exe"
    assert printable(ValueError("two\nlines")) == "two lines"
