"""What a chapter prints holds on other processors than the one that executed it."""

import pytest

from benchmarks.processors import key_of
from mnist_course import measurements
from tools import chapters

MEASURED = measurements.load("processors")["chapters"]


@pytest.mark.parametrize("stem", MEASURED)
def test_a_tolerance_covers_what_other_processors_print(stem: str) -> None:
    rows = MEASURED[stem]
    (source,) = chapters.sources([stem])
    cells = {key_of(cell): cell for cell in chapters.read(source).cells}
    for key in rows.keys() & cells.keys():
        where, differences = f"cell {rows[key]['cell']}", rows[key]["differences"]
        words = [name for name, difference in differences.items() if difference is None]
        assert not words, f"{where} says something else on {words}"
        tolerance = float(cells[key].metadata.get("tolerance", 0))
        assert max(differences.values()) <= tolerance, f"{where}: {differences}"
