"""The training in the page equals PyTorch's: Python writes what it computes, Node compares."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course import figures
from mnist_course.data import Digits
from mnist_course.models import fast_network
from mnist_course.recipes import RECIPES

NODE = shutil.which("node")
TEST = Path(__file__).parent / "js" / "training.test.mjs"
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "leaky relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "none": nn.Identity,
}
Plan = list[dict[str, Any]]


class Masked(nn.Module):
    """Dropout whose dice have been thrown."""

    def __init__(self, share: float, mask: Tensor) -> None:
        super().__init__()
        self.share, self.mask = share, mask

    def forward(self, x: Tensor) -> Tensor:
        # The page throws its dice place by place, (N, H, W, C).
        mask = self.mask.reshape(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
        return x * mask / (1 - self.share)


def layer_of(plan: dict[str, Any], x: Tensor) -> nn.Module:
    """The layer of PyTorch that a plan means, for an input ``x``."""
    channels = x.shape[1]
    match plan["op"]:
        case "conv":
            size, stride = plan["kernel"], plan["stride"]
            return nn.Conv2d(channels, plan["outputs"], size, stride, bias=plan["bias"])
        case "linear":
            linear = nn.Linear(x[0].numel(), plan["outputs"], bias=plan["bias"])
            return nn.Sequential(nn.Flatten(), linear)
        case "norm":
            norm = nn.BatchNorm2d(channels, momentum=plan["momentum"])
            norm.weight.requires_grad_(plan["scale"])
            return norm
        case "activation":
            return ACTIVATIONS[plan["kind"]]()
        case "dropout":
            share = plan["share"]
            return Masked(share, (torch.rand(len(x), x[0].numel()) >= share).float())
        case "maxpool":
            return nn.MaxPool2d(2)
        case _:
            return nn.Softmax(dim=1)


def random_plan(rng: torch.Generator, size: int) -> Plan:
    """One to three blocks with all that the figure can switch on, and the ten logits.

    The first kernel has more than one number: batch norm undoes a single weight, whose gradient is
    then nothing but rounding.
    """

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=rng))

    plan: Plan = []
    for number in range(1, whole(1, 3) + 1):
        kernel, stride = whole(2 if number == 1 else 1, max(2, min(5, size))), whole(1, 2)
        kernel = min(kernel, size)
        norm = bool(whole(0, 1))
        plan.append(
            {
                "op": "conv",
                "name": f"conv{number}",
                "outputs": 8 * whole(1, 3),
                "kernel": kernel,
                "stride": stride,
                "bias": not norm,
            }
        )
        size = (size - kernel) // stride + 1
        if size > 1 and whole(0, 1):
            plan.append({"op": "maxpool"})
            size //= 2
        if norm:
            scale = bool(whole(0, 1))
            plan.append({"op": "norm", "name": f"norm{number}", "momentum": 0.3, "scale": scale})
        kind = list(ACTIVATIONS)[whole(0, len(ACTIVATIONS) - 1)]
        plan.append({"op": "activation", "name": f"activation{number}", "kind": kind})
        if whole(0, 1):
            plan.append({"op": "dropout", "share": 0.4})
    plan.append({"op": "linear", "name": "linear", "outputs": 10, "bias": bool(whole(0, 1))})
    if whole(0, 3) == 0:
        plan.append({"op": "softmax"})
    return plan


def built(plan: Plan, x: Tensor) -> nn.Sequential:
    """The network of a plan, its layers in order."""
    network = nn.Sequential()
    for each in plan:
        layer = layer_of(each, x)
        network.append(layer)
        with torch.no_grad():
            x = layer(x)
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):  # as new again, and no scale is one
            layer.reset_running_stats()
            nn.init.uniform_(layer.bias)
            if layer.weight.requires_grad:
                nn.init.uniform_(layer.weight, 0.5, 1.5)
    return network


def parameters(plan: Plan, network: nn.Sequential) -> dict[str, nn.Parameter]:
    """What is learned, by the page's names."""
    found = {}
    for each, layer in zip(plan, network, strict=True):
        for name, value in layer.named_parameters():
            if value.requires_grad:
                found[f"{each['name']}.{name.split('.')[-1]}"] = value
    return found


def numbers(tensors: dict[str, Tensor]) -> dict[str, list[float]]:
    return {name: tensor.detach().flatten().tolist() for name, tensor in tensors.items()}


def one_step(seed: int) -> dict[str, Any]:
    """A random network and batch, and what PyTorch computes of it."""
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    size, channels, batch = 6 + seed % 9, (1, 8)[seed % 2], 3 + seed % 6
    plan = random_plan(rng, size)
    x = torch.rand(batch, channels, size, size)
    network = built(plan, x)
    labels = torch.randint(0, 10, (batch,))
    smoothing = (0.0, 0.2)[seed % 2]
    start = numbers(parameters(plan, network))
    loss = F.cross_entropy(network(x), labels, label_smoothing=smoothing)
    loss.backward()
    learned = parameters(plan, network)
    norms = [layer for layer in network if isinstance(layer, nn.BatchNorm2d)]
    for layer in network:
        if isinstance(layer, Masked):  # in evaluation nothing is dropped
            layer.share, layer.mask_in_training = 0, layer.mask
            layer.mask = torch.ones_like(layer.mask)
    with torch.no_grad():
        answers = network.eval()(x)
    return {
        "plan": plan,
        "channels": channels,
        "size": size,
        "batch": batch,
        "pixels": x.permute(0, 2, 3, 1).flatten().tolist(),
        "labels": labels.tolist(),
        "smoothing": smoothing,
        "masks": [
            layer.mask_in_training.flatten().tolist()
            for layer in network
            if isinstance(layer, Masked)
        ],
        "start": start,
        "loss": loss.item(),
        "gradients": numbers({name: value.grad for name, value in learned.items()}),
        "means": [layer.running_mean.tolist() for layer in norms],
        "variances": [layer.running_var.tolist() for layer in norms],
        "answers": answers.flatten().tolist(),
    }


OPTIMIZERS = {
    "sgd": lambda p, s: torch.optim.SGD(
        p, s["rate"], momentum=s["momentum"], weight_decay=s["decay"]
    ),
    "nesterov": lambda p, s: torch.optim.SGD(
        p, s["rate"], momentum=s["momentum"], weight_decay=s["decay"], nesterov=True
    ),
    "adam": lambda p, s: torch.optim.Adam(
        p, s["rate"], betas=(s["momentum"], s["beta2"]), weight_decay=s["decay"]
    ),
}


def ten_steps(optimizer: str, decay: float) -> dict[str, Any]:
    """The sprint's network with fewer channels, ten steps on noise, each with another rate."""
    torch.manual_seed(0)
    network = fast_network((8, 16, 24))
    plan: Plan = []
    for number, outputs in enumerate((8, 16, 24), start=1):
        kernel, stride = (6, 2) if number == 1 else (3, 1)
        plan += [
            {
                "op": "conv",
                "name": f"conv{number}",
                "outputs": outputs,
                "kernel": kernel,
                "stride": stride,
                "bias": False,
            },
            *([{"op": "maxpool"}] if number != 2 else []),
            {"op": "norm", "name": f"norm{number}", "momentum": 0.3, "scale": False},
            {"op": "activation", "name": f"gelu{number}", "kind": "gelu"},
        ]
    plan.append({"op": "linear", "name": "linear", "outputs": 10, "bias": False})
    x, labels = torch.rand(16, 1, 28, 28), torch.randint(0, 10, (16,))
    learned = {name: value for name, value in network.named_parameters() if value.requires_grad}
    settings = {
        "optimizer": optimizer,
        "rate": 0.01 if optimizer == "adam" else 0.05,
        "momentum": 0.7,
        "beta2": 0.9,
        "decay": decay,
    }
    start = numbers(learned)
    how = OPTIMIZERS[optimizer](list(learned.values()), settings)
    rates, losses = [], []
    for step in range(10):
        rates.append(settings["rate"] * (step + 1) / 10)
        for group in how.param_groups:
            group["lr"] = rates[-1]
        loss = F.cross_entropy(network(x), labels, label_smoothing=0.2)
        how.zero_grad()
        loss.backward()
        how.step()
        losses.append(loss.item())
    return {
        "plan": plan,
        "settings": settings,
        "rates": rates,
        "pixels": x.flatten().tolist(),
        "labels": labels.tolist(),
        "start": start,
        "losses": losses,
        "end": numbers(learned),
    }


def packed() -> dict[str, Any]:
    """Digits as the page gets them, and what it should unpack."""
    images = torch.randint(0, 256, (12, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (12,))
    content = figures.pack_digits(Digits(images, labels, "noise"), held_out=3).content
    levels = (images.flatten() / 255 * (figures.SHADES - 1)).round()
    return {
        "content": base64.b64encode(content).decode(),
        "labels": labels.tolist(),
        "pixels": (levels * 255 / (figures.SHADES - 1)).round().int().tolist(),
    }


@pytest.mark.parametrize("held_out", [0, 12, 13])
def test_digits_to_learn_from_and_to_hold_out_are_both_needed(held_out: int) -> None:
    digits = Digits(torch.zeros(12, 1, 28, 28, dtype=torch.uint8), torch.zeros(12).long(), "none")
    with pytest.raises(ValueError, match=f"held_out must be 1 to 11, got {held_out}"):
        figures.pack_digits(digits, held_out)


@pytest.mark.skipif(NODE is None, reason="no Node.js on this machine")
def test_the_page_trains_as_pytorch_trains(tmp_path: Path) -> None:
    fixture = {
        "steps": [one_step(seed) for seed in range(36)],
        "packed": packed(),
        "trainings": [ten_steps(name, decay) for name in OPTIMIZERS for decay in (0.0, 0.01)],
    }
    path = tmp_path / "training.json"
    path.write_text(json.dumps(fixture), encoding="utf-8")
    done = subprocess.run(
        [str(NODE), "--test", "--test-reporter=tap", str(TEST)],
        env={"TRAINING_FIXTURE": str(path), "PATH": ""},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# skipped 0" in done.stdout


@pytest.mark.skipif(NODE is None, reason="no Node.js")
def test_the_page_begins_with_the_recipe_sprint() -> None:
    settings = figures.STATIC / "training-settings.js"
    code = f"console.log(JSON.stringify((await import({settings.as_uri()!r})).START))"
    command = [str(NODE), "--input-type=module", "--eval", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    start, sprint = json.loads(run.stdout), RECIPES["sprint"]
    assert (start["channels"], 2 * start["channels"], 4 * start["channels"]) == sprint.channels
    assert start["optimizer"] == sprint.optimizer and start["schedule"] == sprint.schedule
    assert (start["rate"], start["momentum"]) == (sprint.learning_rate, sprint.betas[0])
    assert (start["batch"], start["smoothing"]) == (sprint.batch_size, sprint.label_smoothing)
    assert start["steps"] == round(sprint.epochs * (60_000 // sprint.batch_size))
