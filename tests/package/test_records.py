"""What is computed from published logs of trainings."""

from pathlib import Path

import pytest

from benchmarks import records

LINE = "{epoch:4d}     0.003     99.9     0.011   {accuracy:.3f}    99.760\n"


def written(folder: Path, *accuracies: float) -> Path:
    log = folder / "log000.out"
    lines = [LINE.format(epoch=n, accuracy=each) for n, each in enumerate(accuracies)]
    log.write_text("".join(lines), encoding="utf-8")
    return log


def test_errors_stand_in_the_fifth_column(tmp_path: Path) -> None:
    assert records.errors_by_epoch(written(tmp_path, 99.7, 99.81, 98)) == [30, 19, 200]


def test_each_choice_on_the_test_digits_lowers_the_number() -> None:
    found = records.summary([[40, 20, 30], [50, 22, 24]])
    assert found["mean of the last epochs"] == 27
    assert found["mean of each run's best epoch"] == 21
    assert found["best epoch of the best run"] == 20
    assert (found["seeds"], found["epochs"]) == (2, 3)


def test_a_log_that_breaks_off_is_named(tmp_path: Path) -> None:
    log = written(tmp_path, 99.7)
    log.write_text(log.read_text(encoding="utf-8") + "   1  0.003", encoding="utf-8")
    with pytest.raises(ValueError, match=r"log000\.out, line 2: six columns"):
        records.errors_by_epoch(log)
