"""The pad's JavaScript and Python compute the same: Python writes what it says, Node compares."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mnist_course import __main__ as cli
from mnist_course import checkpoints, models
from mnist_course.explain import occlusion
from mnist_course.export import fold_batch_norm, page_weights
from mnist_course.strokes import draw, preprocess
from tests.drawings import DIGITS, SCRIBBLE
from tests.networks import every_layer, shaken
from tools import page_script
from tools import page_weights as page_weights_script

NODE = shutil.which("node")
TESTS = [
    path
    for path in sorted((Path(__file__).parent / "js").glob("*.test.mjs"))
    if path.name not in ("figures.test.mjs", "live.test.mjs", "training.test.mjs")
]


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def drawings() -> list[list]:
    """Digits, and strokes of every size, some hostile: tiny, huge, equal points, dots."""
    rng = np.random.default_rng(0)
    odd = [
        [],
        [[]],
        [[[3, 4]]],
        [[[3, 4], [3, 4]]],
        [[[0, 0], [1e-200, 0]]],
        [[[0, 0], [1e-299, 0]]],
        [[[0, 0], [1e-301, 0]]],
        [[[0, 0], [1e-310, 5e-324]]],
        [[[0, 0], [5e-324, 0]], [[1e-310, 1e-310]]],
        [[[-1e6, 1e6], [1e6, -1e6]]],
        [[[1e5, 1e5], [1e5 + 1e-11, 1e5]]],
        SCRIBBLE,
    ]
    wild = [
        [
            (rng.normal(size=(rng.integers(1, 6), 2)) * 10 ** rng.uniform(-8, 5)).tolist()
            for _ in range(rng.integers(1, 4))
        ]
        for _ in range(100)
    ]
    table = json.loads((Path(__file__).parents[1] / "samples.json").read_text(encoding="utf-8"))
    read = [digit["strokes"] for case in table for digit in case.get("digits", [])]
    return [*DIGITS.values(), *odd, *wild, *read]


def rounded(weight: torch.Tensor, dtype: str) -> torch.Tensor:
    """A weight as it comes out of a file."""
    if dtype == "float16":
        return weight.half().float()
    if weight.dim() == 1:
        return weight
    rows = weight.reshape(len(weight), -1)
    step = rows.abs().max(dim=1, keepdim=True).values / 127
    return (torch.round(rows / step) * step).reshape(weight.shape)


def model(name: str, network: nn.Module, dtype: str) -> dict:
    """A network as a file, and its logits for the ten digits."""
    content = page_weights(network, dtype)
    if dtype != "float32":  # what the pad reads is the network with rounded weights
        network = fold_batch_norm(network)
        for parameter in network.parameters():
            parameter.data = rounded(parameter.data, dtype)
    images = torch.from_numpy(np.stack([preprocess(strokes) for strokes in DIGITS.values()]))
    with torch.no_grad():
        logits = network.eval()(images[:, None])
    return {
        "name": f"{name}, {dtype}",
        "file": base64.b64encode(content).decode(),
        "images": [encoded(image.numpy()) for image in images],
        "logits": logits.tolist(),
        "worth": encoded(occlusion(network, images[5, None], 5).numpy()),
    }


def exported(folder: Path) -> list[dict]:
    """Networks as files that the command line exported for the pad, and PyTorch's logits."""
    images = torch.from_numpy(np.stack([preprocess(strokes) for strokes in DIGITS.values()]))
    found = []
    for name, channels in (("fast_network", (2, 3, 4)), ("course_network", (3, 4, 5))):
        network = shaken(getattr(models, name)(channels))
        path, out = folder / f"{name}.safetensors", folder / f"{name}.mnistnet"
        said = ",".join(map(str, channels))
        checkpoints.save_weights(network, path, network=name, channels=said)
        assert cli.main(["export", "--weights", str(path), "--out", str(out)]) == 0
        with torch.no_grad():
            logits = checkpoints.load_network(path)(images[:, None])
        found.append(
            {
                "name": name,
                "file": base64.b64encode(out.read_bytes()).decode(),
                "images": [encoded(image.numpy()) for image in images],
                "logits": logits.tolist(),
            }
        )
    return found


@pytest.mark.skipif(NODE is None, reason="no Node.js on this machine")
def test_the_pad_computes_in_javascript_what_python_computes(tmp_path: Path):
    torch.manual_seed(0)
    networks = {
        "course network": shaken(models.course_network()),
        "every layer": shaken(every_layer()),
        "linear": nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
    }
    fixture = {
        "drawings": [
            {"strokes": strokes, "pixels": encoded(draw(strokes))} for strokes in drawings()
        ],
        "models": [
            model(name, network, dtype)
            for name, network in networks.items()
            for dtype in ("float32", "float16", "int8")
        ],
        "exported": exported(tmp_path),
    }
    path = tmp_path / "fixture.json"
    path.write_text(json.dumps(fixture), encoding="utf-8")
    result = subprocess.run(
        [NODE, "--test", "--test-reporter=tap", *TESTS],
        env={"PAD_FIXTURE": str(path), "PATH": ""},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "# skipped 0" in result.stdout


def test_scripts_and_weights_that_a_page_loads_are_light(tmp_path: Path):
    paths = [page_script.write(tmp_path), page_weights_script.write(tmp_path)]
    assert sum(path.stat().st_size for path in paths) <= 250_000
