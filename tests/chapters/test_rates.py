"""What the chapter about rates computes is what PyTorch and the package compute."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import optimisers as benchmark
from mnist_course import measurements
from mnist_course.recipes import Recipe
from tests.chapters.definitions import definitions

chapter = definitions("rates")
FEW = settings(max_examples=25, deadline=None)


@FEW
@given(st.integers(1, 200), st.floats(0.01, 0.9))
def test_the_triangular_schedule_is_the_courses(steps, warmup) -> None:
    recipe = Recipe(learning_rate=1.0, schedule="triangular", warmup=warmup)
    for step in range(steps):
        mine = chapter["triangular"]((step + 0.5) / steps, warmup)
        assert mine == pytest.approx(recipe.learning_rate_at(step, steps))


@FEW
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(0, 0.99))
def test_smoothing_keeps_a_constant_and_stays_between_the_extremes(values, beta) -> None:
    means = chapter["smooth"](values, beta)
    assert means[0] == pytest.approx(values[0])
    assert all(min(values) - 1e-9 <= m <= max(values) + 1e-9 for m in means)
    assert chapter["smooth"]([3.0] * 9, beta) == pytest.approx([3.0] * 9)


MEASURED = measurements.load("optimisers")


def test_the_results_are_those_of_the_script() -> None:
    assert MEASURED["rates"] == list(benchmark.RATES)
    assert MEASURED["naming_seeds"] == list(benchmark.NAMING)
    assert MEASURED["testing_seeds"] == list(benchmark.TESTING)
    assert list(MEASURED["optimisers"]) == [*benchmark.OPTIMISERS, "Muon"]


@pytest.mark.parametrize("name", [*benchmark.OPTIMISERS, "Muon"])
def test_the_race_was_run_by_its_rules(name) -> None:
    """The same grid for all, the best inside it, and seeds that had no say in it."""
    found = MEASURED["optimisers"][name]
    assert [row["rate"] for row in found["grid"]] == MEASURED["rates"]
    best = max(found["grid"], key=lambda row: row["accuracy"])
    assert found["best_rate"] == best["rate"]
    assert MEASURED["rates"][0] < best["rate"] < MEASURED["rates"][-1]
    seeds = [run["seed"] for run in found["runs"]]
    assert seeds == MEASURED["naming_seeds"] + MEASURED["testing_seeds"]
    assert len({*seeds, MEASURED["choosing_seed"]}) == len(seeds) + 1


def test_the_favourite_was_named_by_the_first_seeds() -> None:
    count = len(MEASURED["naming_seeds"])

    def early(name):
        return sum(run["accuracy"] for run in MEASURED["optimisers"][name]["runs"][:count])

    assert MEASURED["favourite"] == max(MEASURED["optimisers"], key=early)


@FEW
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_the_matrix_of_muon_is_made_nearly_orthogonal(height, width, seed) -> None:
    matrix = torch.randn(height, width, generator=torch.Generator().manual_seed(seed))
    turned = benchmark.orthogonal(matrix)
    before, after = (torch.linalg.svd(each, full_matrices=False) for each in (matrix, turned))
    large = 0.1 * before.S[0] < before.S
    assert (after.S < 1.3).all() and (after.S[: large.sum()] > 0.6).all()


def test_digits_error_is_that_of_a_mean_over_digits() -> None:
    first, second = torch.rand(2, 4, 300) > 0.3
    of_digit = (first.double() - second.double()).mean(0)
    error = 100 * of_digit.std().item() / math.sqrt(300)
    assert benchmark.digits_error(first, second) == pytest.approx(error)
