"""Drawings are kept in one file, whole or not at all, by several notebooks at once."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_course import desk, files
from mnist_course.digitpad import DigitPad
from mnist_course.drawings import NAME, Drawings, drawings_file
from mnist_course.samples import SamplesError, read_samples, write_samples
from tests.drawings import DIGITS

SAMPLES = [
    {"label": label, "strokes": [[list(map(float, xy)) for xy in s] for s in strokes], "time": 5}
    for label, strokes in DIGITS.items()
]
ONE, TWO, THREE, FOUR = SAMPLES[:4]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desk, which is the working folder."""
    (tmp_path / desk.MARK).write_text('{"version": 1}', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def labels(digits: list) -> list[int]:
    return [digit["label"] for digit in digits]


def test_the_file_is_the_desks_or_one_beside_the_notebook(here, tmp_path, monkeypatch) -> None:
    assert drawings_file() == here / NAME
    (here / desk.MARK).unlink()
    assert drawings_file() is None
    (here / NAME).write_text(write_samples([ONE]), encoding="utf-8")
    assert drawings_file() == here / NAME


def test_away_from_a_desk_the_kernel_keeps_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pad = DigitPad()
    pad.samples = [ONE]
    assert (pad.place, pad.kept) == ("in the kernel", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_new_pad_has_what_was_drawn_before_the_kernel_was_restarted(here: Path) -> None:
    pad = DigitPad()
    assert pad.samples == []
    pad.samples = [ONE, TWO]
    assert (pad.place, pad.kept) == ("in my-digits.json", 2)
    assert DigitPad().samples == pad.samples
    assert labels(read_samples(here / NAME)) == labels([ONE, TWO])
    pad.samples = []
    assert DigitPad().samples == []


def test_two_notebooks_add_and_delete_without_losing_the_others(here: Path) -> None:
    first, second = DigitPad(), DigitPad()
    first.samples = [ONE, TWO]
    second.samples = [THREE]
    assert labels(second.samples) == labels([ONE, TWO, THREE])
    first.samples = [*first.samples, FOUR]
    assert labels(first.samples) == labels([ONE, TWO, THREE, FOUR])
    second.samples = second.samples[1:]  # it does not know of FOUR yet, and deletes ONE
    assert labels(second.samples) == labels([TWO, THREE, FOUR])
    first.samples = [*first.samples[:2], *first.samples[3:]]  # which still has ONE; deletes THREE
    assert labels(read_samples(here / NAME)) == labels([TWO, FOUR])
    second._handle_custom_msg({"type": "look"}, [])
    assert labels(second.samples) == labels([TWO, FOUR])


def test_many_processes_lose_no_drawing(here: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mnist_course.drawings import Drawings\n"
        "file, known = Drawings(Path('my-digits.json')), []\n"
        "for n in range(6):\n"
        "    digit = {'label': n, 'strokes': [[[0, 0]]], 'time': int(sys.argv[1])}\n"
        "    known = file.change(known, [*known, digit])\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(n)]) for n in range(3)]
    assert [process.wait(120) for process in running] == [0] * 3
    kept = {(digit["label"], digit["time"]) for digit in read_samples(here / NAME)}
    assert kept == {(label, time) for label in range(6) for time in range(3)}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": 1}', '{"version": "1"}', "\0"])
def test_a_damaged_file_is_kept_and_a_new_one_begun(here: Path, damage: str) -> None:
    (here / NAME).write_text(damage, encoding="utf-8")
    pad = DigitPad()
    (kept,) = here.glob("my-digits.damaged-*.json")
    assert kept.read_text(encoding="utf-8") == damage
    assert pad.place == f"in my-digits.json (my-digits.json was damaged; it is kept as {kept.name})"
    pad.samples = [ONE]
    assert DigitPad().samples == pad.samples


def test_of_a_damaged_file_the_good_digits_are_taken_over(here: Path) -> None:
    content = {"version": 1, "digits": [ONE, {"label": 11}, TWO]}
    (here / NAME).write_text(json.dumps(content), encoding="utf-8")
    assert labels(DigitPad().samples) == labels([ONE, TWO])
    assert labels(read_samples(here / NAME)) == labels([ONE, TWO])


def test_a_newer_editions_file_is_left_alone_and_it_is_said(here: Path) -> None:
    newer = '{"version": 2, "digits": []}'
    (here / NAME).write_text(newer, encoding="utf-8")
    pad = DigitPad()
    pad.samples = [ONE]
    assert pad.place.startswith("in the kernel only: a newer edition of the course has written")
    assert labels(pad.samples) == labels([ONE])
    assert (here / NAME).read_text(encoding="utf-8") == newer
    with pytest.raises(SamplesError, match="newer edition"):
        Drawings(here / NAME).read()


def test_on_a_full_disk_the_kernel_keeps_them_and_tries_again(here: Path, monkeypatch) -> None:
    pad = DigitPad()
    pad.samples = [ONE]
    before = (here / NAME).read_bytes()

    def full(path: Path, content: str) -> None:
        raise files.WriteError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        pad.samples = [*pad.samples, TWO]
    assert "in the kernel only" in pad.place
    assert "No space left" in pad.place
    assert (here / NAME).read_bytes() == before
    pad.samples = [*pad.samples, THREE]
    assert pad.place == "in my-digits.json"
    assert labels(read_samples(here / NAME)) == labels([ONE, TWO, THREE])


def test_a_file_that_was_downloaded_from_a_page_is_taken_over(here: Path) -> None:
    (here / NAME).write_text(write_samples(SAMPLES), encoding="utf-8")
    pad = DigitPad()
    assert (labels(pad.samples), pad.kept) == (labels(SAMPLES), len(SAMPLES))
