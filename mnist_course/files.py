"""Files that are written whole or not at all, and the names of what other files hold."""

from __future__ import annotations

import errno
import os
import re
import secrets
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# The answers of file systems that cannot put one file in the place of another: buckets, old shares.
_CANNOT_RENAME = {errno.ENOSYS, errno.EPERM, errno.EEXIST, errno.EOPNOTSUPP, errno.ENOTSUP}
_CANNOT_SYNC = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}

# Begins a table for spreadsheets: without it, Excel takes UTF-8 for something else.
MARK = "\ufeff"

PYTORCH, SAFETENSORS = "a PyTorch checkpoint", "a .safetensors file"
_KINDS = (
    (b"version https://git-lfs", "a pointer that Git LFS left in place of the file (git lfs pull)"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"RIFF", "a picture"),
    (b"II*\0", "a picture"),
    (b"MM\0*", "a picture"),
    (b"\x89HDF", "an HDF5 file, as Keras writes them"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"MNISTNET", "a network for the drawing pad"),
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9", "a PyTorch checkpoint of an old format"),
)


class WriteError(OSError):
    """A file cannot be written; the older file of that name is as it was.

    ``errno``, ``strerror`` and ``filename`` are set, as in every error of the system.
    """

    def __str__(self) -> str:
        return f"cannot write {self.filename}: {self.strerror}"


def write(path: str | Path, content: bytes | str) -> None:
    """Write a file, and its folder if need be: whole or not at all.

    The content is written beside ``path`` and then put in its place. Whatever happens before that
    (no space left, Ctrl-C, a crash), ``path`` is the old file; afterwards it is the new one. What a
    killed process left beside it is cleared away by the next one that writes a file of that name.
    Where a file system cannot rename a file over another one, the file is overwritten instead, and
    only a kill at that very moment can spoil it. A link is followed.

    Args:
        path: the file; it is replaced if it exists.
        content: bytes, or text to be stored as UTF-8.

    Raises:
        WriteError: if it cannot be written; ``path`` is then as it was.
    """
    content = content.encode() if isinstance(content, str) else content
    with _draft(path) as (draft, file, target):
        file.write(content)
        file.flush()
        _sync(file)
        if sys.platform == "win32":  # an open file cannot be renamed there
            file.close()
        _put(draft, target, content)


def check_writable(path: str | Path) -> None:
    """Find out before a long computation if :func:`write` can write ``path``; makes its folder.

    Raises:
        WriteError: if it cannot.
    """
    with _draft(path):
        pass


@contextmanager
def _draft(path: str | Path) -> Iterator[tuple[Path, BinaryIO, Path]]:
    """A new file beside ``path``: its name, the open file, and the one that it is to replace.

    It stays locked while it is open, so no other process takes it for the leftover of a killed one.
    """
    try:
        if "\0" in str(path):
            raise OSError(errno.EINVAL, "a name cannot hold the character NUL")
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if target.exists() and not target.is_file():
            raise OSError(errno.EINVAL, "it is a device or a pipe, not a file")
        _make_folder(target.parent)
        with suppress(OSError):  # some folders can be written to but not listed
            _clear(target)
        draft, handle = _create(target)
        try:
            with os.fdopen(handle, "wb") as file:
                yield draft, file, target
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(error.errno, error.strerror or str(error), str(path)) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder") from None


def _prefix(target: Path) -> str:
    return f".{target.name[-60:]}."  # a name may have 255 bytes, and a letter up to four


def _create(target: Path) -> tuple[Path, int]:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    while True:
        draft = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}.part")
        handle = os.open(draft, flags, 0o666)  # less what the umask takes
        _lock(handle, wait=True)
        if draft.exists():
            return draft, handle
        os.close(handle)  # it was cleared away in the moment before it was locked


def _lock(handle: int, wait: bool = False) -> bool:
    """Lock an open file until it is closed or its process ends; False if that cannot be had."""
    if sys.platform == "win32":
        return True  # what a process holds open cannot be deleted there
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _clear(target: Path) -> None:
    """Delete the drafts of ``target`` that no process is writing."""
    prefix = _prefix(target)
    for path in target.parent.iterdir():
        random = path.name.removeprefix(prefix).removesuffix(".part")
        if len(random) == 8 and path.name == f"{prefix}{random}.part":
            with suppress(OSError):
                _delete_unless_open(path)


def _delete_unless_open(draft: Path) -> None:
    if sys.platform == "win32":
        draft.unlink()  # refused while a process has it open
        return
    handle = os.open(draft, os.O_RDWR)
    try:
        if _lock(handle):
            draft.unlink()
    finally:
        os.close(handle)


def _sync(file: BinaryIO) -> None:
    """Wait until the disk has the file: some file systems say only then that they are full."""
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _put(draft: Path, target: Path, content: bytes) -> None:
    try:
        draft.replace(target)
    except OSError as error:
        if error.errno not in _CANNOT_RENAME:
            raise
        draft.unlink()  # there may be no room for both
        old = target.read_bytes() if target.exists() else None
        try:
            target.write_bytes(content)
        except BaseException:
            if old is None:
                target.unlink(missing_ok=True)
            else:
                target.write_bytes(old)
            raise


def kind_of_file(path: Path) -> str:
    """What an unexpected file holds, with an article; ``""`` if unclear.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return "an empty file"
    size = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and size < path.stat().st_size:
        return SAFETENSORS
    for start, kind in _KINDS:
        if head.startswith(start):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5" and size > 1 << 16:  # else it is a size
        return "a Python pickle"
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x3a"):  # the version, then maker or graph
        return "an ONNX file"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page, perhaps one that asks to log in"
    text = head.decode("utf-8", "ignore")
    return "a text" if len(text) > 0.9 * len(head) and "\0" not in text else ""


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return ""  # cut short, whatever it was
    return PYTORCH if any(name.endswith("/data.pkl") for name in names) else "a zip archive"


def harmless(text: object) -> str:
    """The text as one line that no spreadsheet takes for a formula.

    Neither at its beginning nor behind a semicolon, which separates cells in many countries.
    """
    return re.sub(r"(^|;)(\s*)(?=[=+@-]|[＝＋＠－])", r"\1\2'", printable(text))


def printable(text: object) -> str:
    """The text as one line in which what cannot be printed is escaped.

    File names and what servers answer may hold anything, terminal commands included.
    """
    line = " ".join(str(text).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
