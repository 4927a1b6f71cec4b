"""Several processes train as one does: they share each batch, write once, and end together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mnist_course import checkpoints, distributed, train
from tests.made_up import digits

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="needs PyTorch with gloo",
)

needs_torchrun = pytest.mark.skipif(
    sys.platform == "win32",
    reason="PyTorch for Windows is built without libuv, which torchrun needs",
)

ROOT = Path(__file__).parents[2]
CONVOLUTIONS = {"augmentation": train.RECIPES["fast"].augmentation, "batch_size": 32, "epochs": 1.5}


class InDoublePrecision(nn.Sequential):
    """A small network with batch norm in float64, so that rounding stays far below any mistake."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 5, stride=3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 12),
            nn.BatchNorm1d(12),
            nn.Linear(12, 10),
        )
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.double())


def run_fit(folder: Path, **options) -> tuple[nn.Module, train.History]:
    """What one process, or each of several, does in these tests."""
    torch.manual_seed(0)
    model = InDoublePrecision()
    recipe = train.Recipe(learning_rate=0.01, **CONVOLUTIONS)
    history = train.fit(
        model,
        digits(256),
        digits(64, seed=1),
        recipe,
        device="cpu",
        progress=False,
        checkpoint_folder=folder,
        **options,
    )
    return model, history


def torchrun(tmp_path: Path, code: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in several processes; it finds the folder of the test in ``folder``."""
    script = tmp_path / "script.py"
    script.write_text(
        f"from pathlib import Path\nfolder = Path({str(tmp_path)!r})\n{code}", encoding="utf-8"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "MNIST_COURSE_DATA": "stand-in",
    }
    return subprocess.run(
        [*command, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script)],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        cwd=tmp_path,
    )


COMMAND = """
import sys
from mnist_course import __main__ as cli, train
{change}
sys.exit(cli.main(["train", "--epochs", "2", "--device", "cpu", "--out", str(folder / "run")]))
"""

# Starting processes takes far longer than training. So all trainings share those that one command
# started: when the command begins to train, two others come first.
SHARED = """
import torch
from mnist_course import checkpoints, distributed
from tests.package.test_distributed import run_fit

written = []
save = checkpoints.write
def note(path, content):
    written.append(path.name)
    save(path, content)
checkpoints.write = note

fit = train.fit
def after_two_others(*given, **options):
    train.fit = fit
    for name, more in {"two": {}, "begun": {"resume": True}}.items():
        model, history = run_fit(folder / name, **more)
        state = {"weights": model.state_dict(), "losses": history.losses, "written": written[:]}
        state["accuracy"] = [row.validation_accuracy for row in history.rows]
        torch.save(state, folder / f"{name}-{distributed.team().rank}.pt")
    return fit(*given, **options)
train.fit = after_two_others
"""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> tuple:
    """The folder of two trainings, whole and resumed; the ends of all processes; their words."""
    folder = tmp_path_factory.mktemp("two-processes")
    run_fit(folder / "begun", after_epoch=lambda *_: True)  # by one process, up to its first epoch
    run = torchrun(folder, COMMAND.format(change=SHARED))
    assert run.returncode == 0, run.stderr
    names = ("two", "begun")
    ends = {n: [torch.load(folder / f"{n}-{rank}.pt") for rank in (0, 1)] for n in names}
    return folder, ends, run.stdout


@pytest.mark.slow
@needs_torchrun
def test_two_processes_do_what_one_does(two_processes, tmp_path) -> None:
    first, second = two_processes[1]["two"]
    model, history = run_fit(tmp_path)
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(history.losses, abs=1e-6)
    assert first["accuracy"] == [row.validation_accuracy for row in history.rows]
    for name, value in model.state_dict().items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        # Twelve steps of Adam in float64 differ by less than one of them in float32 rounds.
        assert torch.allclose(first["weights"][name], value, rtol=0, atol=1e-6), name


@pytest.mark.slow
@needs_torchrun
def test_only_the_first_process_writes_checkpoints(two_processes) -> None:
    folder, runs, _ = two_processes
    first, second = runs["two"]
    assert first["written"].count("last.pt") == 2
    assert second["written"] == []
    weights, _ = checkpoints.read_weights(folder / "two" / "last.safetensors")
    for name, value in weights.items():
        assert torch.equal(value, first["weights"][name])


@pytest.mark.slow
@needs_torchrun
def test_two_processes_go_on_with_what_one_began(two_processes) -> None:
    whole, _ = two_processes[1]["two"]
    for resumed in two_processes[1]["begun"]:
        assert len(resumed["losses"]) == len(whole["losses"]) == 12
        for name, value in whole["weights"].items():
            assert torch.allclose(resumed["weights"][name], value, rtol=0, atol=1e-6), name


@pytest.mark.slow
@needs_torchrun
def test_the_command_line_trains_with_two_processes(two_processes) -> None:
    folder, _, said = two_processes
    assert said.count("weights: ") == 1  # only the first process speaks
    assert "20 of 20 steps" in said
    assert (folder / "run" / "history.csv").exists()
    checkpoints.load_network(folder / "run" / "last.safetensors")


@pytest.mark.slow
@needs_torchrun
def test_a_crash_of_one_process_ends_all_with_its_message(tmp_path) -> None:
    change = """
import os
rate = train.Recipe.learning_rate_at
def fails(recipe, step, steps):
    if os.environ["RANK"] == "1" and step == 5:
        raise OSError("the disk of this machine is gone")
    return rate(recipe, step, steps)
train.Recipe.learning_rate_at = fails
"""
    run = torchrun(tmp_path, COMMAND.format(change=change))
    assert run.returncode != 0
    assert "mnist_course: process 1: the disk of this machine is gone" in run.stderr
    assert "weights: " not in run.stdout
    assert not (tmp_path / "run" / "last.pt").exists()


def test_a_batch_that_cannot_be_shared_equally_is_named(monkeypatch) -> None:
    monkeypatch.setattr(train, "team", lambda: distributed.Team(rank=0, size=3))
    recipe = train.Recipe(network="fast_network", batch_size=32)
    with pytest.raises(ValueError, match="batch of 32 digits cannot be shared equally by 3"):
        train.fit(recipe.build(), digits(64), recipe=recipe, device="cpu", progress=False)


def test_a_process_alone_shares_nothing() -> None:
    alone = distributed.team()
    assert alone == distributed.Team(0, 1)
    numbers = torch.arange(6.0)
    assert alone.share(numbers)[0] is numbers
    assert torch.equal(alone.mean(numbers), numbers)
    assert alone.from_first(lambda: 7) == 7
    with distributed.started(torch.device("cpu")) as team:
        assert team == alone
    assert not torch.distributed.is_initialized()
