"""Results of the scripts in benchmarks/, and what the book may take from them."""

import json
from collections.abc import Iterator

import pytest

from benchmarks import accuracy
from mnist_course import measurements, train


def test_what_was_saved_is_loaded_with_the_machine_that_made_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(measurements, "FOLDER", tmp_path / "results")
    path = measurements.save("speed", {"seconds": [1.5, 2.0]})
    loaded = measurements.load("speed")
    assert loaded["seconds"] == [1.5, 2.0]
    assert loaded["machine"]["cores"] >= 1
    assert [p.name for p in path.parent.iterdir()] == ["speed.json"]


def test_unknown_results_name_the_known_ones_and_the_script(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(measurements, "FOLDER", tmp_path)
    (tmp_path / "pad.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"known: pad.*python -m benchmarks\.speed"):
        measurements.load("speed")


@pytest.mark.parametrize("path", sorted(measurements.FOLDER.glob("*.json")), ids=lambda p: p.stem)
def test_every_committed_result_says_where_it_was_measured_and_has_its_script(path) -> None:
    machine = json.loads(path.read_text(encoding="utf-8"))["machine"]
    assert {"processor", "cores", "threads", "gpu", "torch", "date"} <= machine.keys()
    scripts = [script.stem for script in measurements.FOLDER.parent.glob("*.py")]
    assert any(path.stem == name or path.stem.startswith(f"{name}_") for name in scripts)


def settings_of_recipes() -> Iterator:
    """What each file of results says that a recipe of the course was when it was measured."""
    for name, settings in measurements.load("time_to_99")["settings"].items():
        if name in train.RECIPES:
            yield pytest.param(train.RECIPES[name], settings, id=f"time_to_99 {name}")
    for part, known in ("test", train.RECIPES), ("choice", accuracy.CANDIDATES):
        for name, case in measurements.load("accuracy")[part].items():
            yield pytest.param(known[name], case["settings"], id=f"accuracy {part} {name}")


@pytest.mark.parametrize(("recipe", "settings"), list(settings_of_recipes()))
def test_what_was_measured_is_the_recipe_of_today(recipe, settings) -> None:
    assert settings == str(recipe)


def test_every_candidate_and_every_recipe_was_tried_for_its_accuracy() -> None:
    found = measurements.load("accuracy")
    assert list(found["choice"]) == list(accuracy.CANDIDATES)
    assert list(found["test"]) == list(train.RECIPES)
    # As chapter 21 says.
    assert [len(case["runs"]) for case in found["choice"].values()] == [2, 2, 1, 1, 1, 1, 1]
