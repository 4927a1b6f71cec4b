"""What chapter 19 defines computes what SciPy, scikit-learn and the package compute."""

import math

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import binomtest
from torch.nn import functional as F

from mnist_course.evaluate import Result, expected_calibration_error, mcnemar, wilson_interval
from tests.chapters.definitions import definitions

chapter = definitions("evaluation")

seeds = st.integers(0, 1000)


def normal(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def pictures(n: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


@given(total=st.integers(1, 10_000), share=st.floats(0, 1))
def test_the_interval_is_the_package_s_and_solves_the_equation(total, share) -> None:
    right = round(share * total)
    low, high = chapter["wilson"](right, total)
    assert (low, high) == pytest.approx(wilson_interval(right, total), abs=1e-12)
    for a in (low, high):
        assert (right / total - a) ** 2 == pytest.approx(1.96**2 * a * (1 - a) / total, abs=1e-9)


def test_wilson_keeps_its_promise_where_wald_does_not() -> None:
    coverage = chapter["coverage"]
    assert coverage(chapter["wilson"], 0.995, 500) > 0.92
    assert coverage(chapter["wald"], 0.998, 500) < 0.75
    assert coverage(chapter["wald"], 0.5, 500) == pytest.approx(0.95, abs=0.02)


@given(b=st.integers(0, 60), c=st.integers(0, 60))
def test_the_paired_test_is_the_package_s_and_scipy_s(b, c) -> None:
    p = chapter["mcnemar"](b, c)
    if b + c:
        assert p == pytest.approx(binomtest(b, b + c, 0.5).pvalue)
    first, second = [True] * b + [False] * c, [False] * b + [True] * c
    results = [answering([*right, True]) for right in (first, second)]
    assert mcnemar(*results) == p


def answering(right: list[bool]) -> Result:
    logits = torch.zeros(len(right), 10)
    logits[torch.arange(len(right)), [0 if r else 1 for r in right]] = 1
    return Result(logits, torch.zeros(len(right), dtype=torch.int64), "made-up digits")


@settings(deadline=None)
@given(n=st.integers(1, 60), bins=st.integers(1, 20), seed=seeds)
def test_the_calibration_error_is_the_package_s(n, bins, seed) -> None:
    p = (3 * normal(n, 10, seed=seed)).softmax(1)
    labels = torch.randint(10, (n,), generator=torch.Generator().manual_seed(seed))
    mine = chapter["ece"](p, labels, bins)
    assert mine == pytest.approx(expected_calibration_error(p, labels, bins))
    count, share, confidence = chapter["reliability"](p, labels, bins)
    assert count.sum() == n
    used = count > 0
    assert ((confidence[used] * bins).floor().clamp(max=bins - 1) == used.nonzero()[:, 0]).all()
    assert (share[used] >= 0).all() and share[~used].isnan().all()


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(true) -> None:
    z = 3 * normal(20_000, 10, seed=1)
    generator = torch.Generator().manual_seed(2)
    labels = torch.multinomial((z / true).softmax(1), 1, generator=generator).squeeze(1)
    found = chapter["fit_temperature"](z, labels)
    assert found == pytest.approx(true, rel=0.05)
    best = F.cross_entropy(z / found, labels)
    assert all(F.cross_entropy(z / (found * f), labels) >= best for f in (0.98, 1.02))


@given(n=st.integers(1, 50), seed=seeds)
def test_risk_and_coverage_by_hand(n, seed) -> None:
    confidence = normal(n, seed=seed)
    right = normal(n, seed=seed + 1) > 0
    coverage, risk = chapter["risk_coverage"](confidence, right)
    for k in range(n):
        kept = confidence.topk(k + 1).indices
        assert risk[k] == pytest.approx((~right[kept]).double().mean().item())
        assert coverage[k] == pytest.approx((k + 1) / n)


@given(n=st.integers(1, 200), alpha=st.floats(0.01, 0.5), seed=seeds)
def test_a_conformal_set_misses_no_more_calibration_digits_than_allowed(n, alpha, seed) -> None:
    p = normal(n, 10, seed=seed).softmax(1)
    labels = torch.randint(10, (n,), generator=torch.Generator().manual_seed(seed))
    threshold = chapter["conformal_threshold"](p, labels, alpha)
    inside = (1 - p <= threshold).gather(1, labels[:, None])
    assert inside.double().mean() >= 1 - alpha
    few = (n + 1) * (1 - alpha) > n
    assert (threshold == math.inf) == few


def test_a_conformal_set_keeps_its_promise_for_new_digits_and_is_not_larger_than_needed() -> None:
    p = normal(60_000, 10, seed=3).mul(2).softmax(1)
    generator = torch.Generator().manual_seed(4)
    labels = torch.multinomial(p**0.5, 1, generator=generator).squeeze(1)  # badly calibrated
    threshold = chapter["conformal_threshold"](p[:30_000], labels[:30_000], 0.1)
    inside = (1 - p[30_000:] <= threshold).gather(1, labels[30_000:, None])
    assert inside.double().mean() == pytest.approx(0.9, abs=0.01)


def test_an_area_is_that_of_scikit_learn_at_the_rarity_of_the_digits() -> None:
    truth = torch.arange(400) % 8 == 0
    score = (normal(400, seed=0) + truth).numpy()
    f, r, _ = sklearn.metrics.roc_curve(truth, score, drop_intermediate=False)
    average = (np.diff(r) * chapter["precision_at"](truth.double().mean().item(), r, f)[1:]).sum()
    theirs = sklearn.metrics.average_precision_score(truth, score)
    assert average == pytest.approx(theirs)
    auc = chapter["solution_auc"](torch.from_numpy(score), truth)
    assert auc == pytest.approx(sklearn.metrics.roc_auc_score(truth, score))


def test_a_proper_score_is_best_for_the_true_probabilities() -> None:
    true = normal(50_000, 10, seed=5).softmax(1)
    generator = torch.Generator().manual_seed(6)
    labels = torch.multinomial(true, 1, generator=generator).squeeze(1)
    best = chapter["brier"](true, labels)
    for power in (0.7, 1.4):
        other = true**power / (true**power).sum(1, keepdim=True)
        assert chapter["brier"](other, labels) > best


def test_the_error_of_blocks_is_binomial_for_coins_and_larger_for_runs() -> None:
    coins = torch.rand(20_000, generator=torch.Generator().manual_seed(0)) < 0.05
    block_error = chapter["block_error"]
    binomial = 100 * math.sqrt(0.05 * 0.95 / 20_000)
    assert block_error(coins, 1) == pytest.approx(binomial, rel=0.05)
    assert block_error(coins, 50) == pytest.approx(binomial, rel=0.15)
    runs = coins[:400].repeat_interleave(50)  # fifty neighbours share a fate
    assert block_error(runs, 50) > 4 * block_error(runs, 1)


@pytest.mark.parametrize("name", list(chapter["CHANGES"]))
def test_a_change_begins_with_none_and_keeps_the_shape(name) -> None:
    change, amounts = chapter["CHANGES"][name]
    x = pictures()
    none = 1.0 if name.startswith("size") else 0
    assert none in amounts
    torch.testing.assert_close(change(x, none), x, atol=1e-5, rtol=0)
    for amount in amounts:
        changed = change(x, amount)
        assert changed.shape == x.shape and changed.dtype == x.dtype
        assert changed.min() > -1e-5 and changed.max() < 1 + 1e-5


def test_changes_do_what_they_are_called() -> None:
    x = pictures()
    assert torch.equal(chapter["shift"](x, 3)[..., 3:], x[..., :-3])
    assert not chapter["shift"](x, 3)[..., :3].any()
    quarter = torch.rot90(x, 1, (2, 3))  # anticlockwise
    torch.testing.assert_close(chapter["rotate"](x, 90), quarter, atol=1e-4, rtol=0)
    assert torch.equal(chapter["invert"](x, 1), 1 - x)
    small = chapter["shrink"](torch.ones_like(x), 0.5)
    assert small.sum() == pytest.approx(x.numel() / 4, rel=0.02)
    thick = chapter["stroke"](x, 2)
    torch.testing.assert_close(thick, F.max_pool2d(x, 5, 1, 2))
    torch.testing.assert_close(chapter["stroke"](x, -1), -F.max_pool2d(-x, 3, 1, 1))
    halfway = (x + chapter["stroke"](x, 1)) / 2
    torch.testing.assert_close(chapter["stroke"](x, 0.5), halfway)
    theirs = gaussian_filter(x[0, 0].numpy(), 1.5, mode="constant", radius=8)
    mine = chapter["blur"](x, 1.5)[0, 0]
    np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-6)


def test_the_unpaired_test_is_that_of_the_normal_distribution() -> None:
    sigma = math.sqrt((0.99 * 0.01 + 0.98 * 0.02) / 1000)
    two_sided = math.erfc(0.01 / sigma / math.sqrt(2))
    assert chapter["unpaired"](0.99, 0.98, 1000) == pytest.approx(two_sided)


def test_rounded_weights_are_few_and_the_network_is_left_alone() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(30, 20))
    before = network[0].weight.clone()
    coarse = chapter["rounded"](network, 3)
    assert len(coarse[0].weight.unique()) <= 7
    step = before.abs().max() / 3
    assert (coarse[0].weight - before).abs().max() <= step / 2 * 1.001
    assert torch.equal(network[0].weight, before)
    assert torch.equal(coarse[0].bias, network[0].bias)
