"""The figures that are set compute what PyTorch computes: Python writes it, Node compares."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_course import figures

NODE = shutil.which("node")
TEST = Path(__file__).parent / "js" / "live.test.mjs"


def walks() -> list[dict[str, Any]]:
    """Every rule on every ground, with rates from small to far too large."""
    dice, made = random.Random(0), []
    for ground in figures.GROUNDS:
        for rule in figures.RULES:
            for rate in (0.003, 0.05, 0.2, 5.0):
                walk = {
                    "ground": ground, "rule": rule, "rate": rate, "steps": 40,
                    "momentum": dice.choice([0.0, 0.5, 0.9, 0.99]),
                    "start": [dice.uniform(-10, 10), dice.uniform(-4, 4)],
                }  # fmt: skip
                places = figures.walk(**walk)
                # JSON knows no infinity, and a walk on its way there rounds.
                kept = int((places.abs() < 1e9).all(1).int().cummin(0).values.sum())
                walk["steps"] = kept - 1
                made.append({"walk": walk, "path": places[:kept].tolist()})
    return made


def answers() -> list[dict[str, Any]]:
    made = []
    for spread in (0.0, 1.0, 5.0, 300.0):
        for temperature in (0.05, 1.0, 20.0):
            logits = (spread * torch.randn(10, dtype=torch.float64)).tolist()
            p, loss, slopes = figures._answer(logits, 3, temperature)
            made.append(
                {
                    "logits": logits,
                    "temperature": temperature,
                    "label": 3,
                    "probabilities": p.tolist(),
                    "loss": loss,
                    "slopes": slopes.tolist(),
                }
            )
    return made


def shifts() -> list[dict[str, Any]]:
    made, dice = [], random.Random(1)
    for kind in ("max", "average"):
        for window in (1, 2, 3, 4):
            for stride in (1, 2, 3):
                image = torch.randint(0, 256, (28, 28), dtype=torch.uint8)
                shift = {
                    "right": dice.randint(-6, 6), "down": dice.randint(-6, 6),
                    "map": dice.choice(["edges", "digit"]),
                    "kind": kind, "window": window, "stride": stride,
                }  # fmt: skip
                maps = figures._pooled_maps(image[None] / 255, **shift)
                digit, values, pooled = (each.flatten().tolist() for each in maps)
                found = {"digit": digit, "edges": values, "pooled": pooled}
                made.append({**shift, **found, "pixels": image.flatten().tolist()})
    return made


@pytest.mark.skipif(NODE is None, reason="no Node.js on this machine")
def test_the_figures_compute_what_pytorch_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fixture = {"walks": walks(), "answers": answers(), "shifts": shifts()}
    path = tmp_path / "live.json"
    path.write_text(json.dumps(fixture, allow_nan=False), encoding="utf-8")
    done = subprocess.run(
        [str(NODE), "--test", "--test-reporter=tap", str(TEST)],
        env={"LIVE_FIXTURE": str(path), "PATH": ""},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# skipped 0" in done.stdout


def test_a_walk_says_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"expected one of 'valley'.*got 'hill'"):
        figures.valley_walk(ground="hill")
    with pytest.raises(ValueError, match=r"expected one of 'descent'.*got 'sgd'"):
        figures.valley_walk(rule="sgd")
    with pytest.raises(figures.traitlets.TraitError, match=r"'rate'.*greater than 10"):
        figures.valley_walk(rate=11)


def test_a_walk_that_explodes_ends_where_its_numbers_do() -> None:
    path = figures.valley_walk(ground="bent", rate=5, start=[9, -4], steps=300).path
    assert 3 < len(path) < 300 and not path[-1].isfinite().all() and path[:-1].isfinite().all()


@pytest.mark.parametrize(
    ("logits", "label", "message"),
    [(range(9), 0, "ten logits.*got 9"), (range(10), 10, "from 0 to 9, got 10")],
)
def test_ten_logits_and_a_digit_are_needed(logits, label: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.logit_sliders(list(logits), label)


def test_a_digit_can_be_read_set_and_is_checked() -> None:
    image = torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8)
    widget = figures.pooling_shift(image)
    assert torch.equal(widget.image, image / 255)
    widget.image = 1 - widget.image
    assert torch.equal((255 * widget.image).round(), 255 - image.float())
    with pytest.raises(figures.traitlets.TraitError, match="28 x 28 bytes"):
        widget.pixels = "AAAA"
    with pytest.raises(ValueError, match="28 x 28 pixels"):
        figures.pooling_shift(torch.zeros(20, 20))
