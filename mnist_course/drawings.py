"""Where a notebook keeps the digits that were drawn: one file, which all notebooks of a desk share.

On the learner's desk that is ``my-digits.json`` (see :mod:`mnist_course.desk`); elsewhere it is the
file of that name beside the notebook, if somebody has put one there. Several notebooks may add
and delete at once: each change is made to what the file holds at that moment.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mnist_course import desk, files
from mnist_course.samples import (
    VERSION,
    Sample,
    SamplesError,
    check_samples,
    read_samples,
    write_samples,
)

NAME = "my-digits.json"


def drawings_file() -> Path | None:
    """The file that keeps what is drawn in this notebook; ``None`` if nothing does."""
    if folder := desk.find_desk():
        return folder / NAME
    beside = Path(NAME).absolute()
    return beside if beside.is_file() else None


@dataclass
class Drawings:
    """The digits in a file.

    Attributes:
        path: the file.
        said: what the learner should know of it: it was damaged, and where it is kept now.
    """

    path: Path
    said: str = ""

    def read(self) -> list[Sample]:
        """The digits in the file; none if there is no file.

        A damaged file is kept under another name, and what can be read of it is taken over.

        Raises:
            SamplesError: if a newer edition of the course has written the file.
            DeskError: if another notebook keeps it busy.
            OSError: if it cannot be read.
        """
        with desk.locked(self.path.parent):
            return self._read()

    def change(self, before: Sequence[Sample], after: Sequence[Sample]) -> list[Sample]:
        """Do to the file what leads from ``before`` to ``after``, and return what it then holds.

        What other notebooks have added meanwhile stays, and what they have deleted stays deleted.

        Raises:
            SamplesError: if a newer edition of the course has written the file, or the digits are
                too many.
            DeskError: if another notebook keeps it busy.
            OSError: if it cannot be written; it is then as it was.
        """
        old, new = {_text(digit) for digit in before}, {_text(digit) for digit in after}
        with desk.locked(self.path.parent):
            held = self._read()
            kept = [digit for digit in held if _text(digit) not in old - new]
            known = {_text(digit) for digit in kept} | old
            now = kept + [digit for digit in after if _text(digit) not in known]
            if now != held:
                files.write(self.path, write_samples(now))
        return now

    def _read(self) -> list[Sample]:
        if not self.path.exists():
            return []
        try:
            return read_samples(self.path)
        except SamplesError:
            digits = self._readable()
        aside = desk.put_aside(self.path, "damaged")
        self.said = f"{self.path.name} was damaged; it is kept as {aside.name}"
        if digits:
            files.write(self.path, write_samples(digits))
        return digits

    def _readable(self) -> list[Sample]:
        """What can be read of a damaged file.

        Raises:
            SamplesError: if it is not damaged, but of a newer edition.
        """
        try:
            content = json.loads(self.path.read_bytes().decode("utf-8-sig"))
            version, digits = content["version"], content.get("digits")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return []
        if isinstance(version, int) and version > VERSION:
            raise SamplesError(
                f"a newer edition of the course has written {self.path.name}, so it is left alone"
            )
        found = []
        for digit in digits if isinstance(digits, list) else []:
            try:
                found += check_samples([digit])
            except SamplesError:
                continue
        return found


def _text(digit: Sample) -> str:
    """The same for two digits that are the same."""
    return json.dumps([digit["label"], digit["strokes"], digit["time"]])
