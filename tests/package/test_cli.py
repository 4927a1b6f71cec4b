"""The command line: what it prints, how it fails, and the exit codes."""

import io
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_course import __main__ as cli
from mnist_course import checkpoints, data, devices, finetune, models, samples, train
from mnist_course.evaluate import evaluate
from mnist_course.export import read_page_weights
from mnist_course.synthetic import handwriting
from tests.made_up import digits


@pytest.fixture(autouse=True)
def made_up_digits(monkeypatch) -> None:
    """Commands read made-up digits, and have recipes of a second."""
    monkeypatch.setattr(data, "load", lambda split="train": digits(300, len(split)))
    quick = train.Recipe(network="fast_network", channels=(8, 12, 16), epochs=2, batch_size=50)
    monkeypatch.setitem(train.RECIPES, "fast", quick)


@pytest.fixture
def picture(tmp_path) -> Path:
    """A drawing of a one, dark on light, as a scan or a screenshot is."""
    pixels = np.full((200, 150), 250, np.uint8)
    pixels[40:160, 70:85] = 20
    path = tmp_path / "one.png"
    Image.fromarray(pixels).save(path)
    return path


def error_of(capsys) -> str:
    """What stands on stderr: one line, without a traceback."""
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text


def test_train_writes_weights_that_evaluate_and_predict_read(tmp_path, capsys, picture) -> None:
    out = tmp_path / "run"
    assert cli.main(["train", "--out", str(out), "--device", "cpu"]) == 0
    answer = capsys.readouterr().out
    assert "10 of 10 steps on made-up digits (cpu)" in answer
    assert str(out / "last.safetensors") in answer
    assert (out / "history.csv").read_text(encoding="utf-8").startswith("epoch,step,")

    weights = ["--weights", str(out / "best.safetensors")]
    assert cli.main(["evaluate", *weights, "--device", "cpu"]) == 0
    assert "made-up digits, 300 digits: accuracy" in capsys.readouterr().out
    assert cli.main(["predict", str(picture), *weights]) == 0
    assert capsys.readouterr().out.startswith(f"{picture}: ")


def test_the_seed_and_the_epochs_are_used(tmp_path) -> None:
    runs = {}
    for name, options in {
        "a": ["--seed", "3"],
        "b": ["--seed", "3"],
        "c": ["--seed", "4"],
        "d": ["--seed", "3", "--epochs", "0.5"],
    }.items():
        assert cli.main(["train", "--out", str(tmp_path / name), "--device", "cpu", *options]) == 0
        weights, _ = checkpoints.read_weights(tmp_path / name / "last.safetensors")
        runs[name] = weights["linear.weight"]
    assert torch.equal(runs["a"], runs["b"])
    assert not torch.equal(runs["a"], runs["c"])
    assert not torch.equal(runs["a"], runs["d"])


def test_train_resumes(tmp_path, capsys) -> None:
    command = ["train", "--out", str(tmp_path), "--device", "cpu"]
    assert cli.main(command) == 0
    capsys.readouterr()
    assert cli.main([*command, "--resume"]) == 0
    assert "10 of 10 steps" in capsys.readouterr().out
    assert cli.main([*command, "--resume", "--epochs", "3"]) == 1
    assert "resume with the same recipe" in error_of(capsys)


def test_predict_reads_the_digit_with_the_network_of_the_course(picture, capsys) -> None:
    assert cli.main(["predict", str(picture), str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{picture}: 1 ") for line in lines)


def test_predict_shows_what_the_network_saw(picture, tmp_path, capsys) -> None:
    shown = tmp_path / "shown.png"
    assert cli.main(["predict", str(picture), str(picture), "--show", str(shown)]) == 0
    with Image.open(shown) as image:
        assert image.size == (28 * 8, 2 * 30 * 8)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_what_cannot_be_shown_is_said_before_anything_is_read(picture, tmp_path, capsys) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["predict", str(picture), "--show", str(tmp_path / "file" / "x.png")]) == 1
    answer = capsys.readouterr()
    assert not answer.out
    assert answer.err.count("\n") == 1


def test_evaluate_measures_the_network_of_the_course_by_default(capsys) -> None:
    assert cli.main(["evaluate", "--device", "cpu"]) == 0
    assert "300 digits: accuracy" in capsys.readouterr().out


@pytest.fixture
def drawn(tmp_path) -> Path:
    """A file of thirty digits, as the drawing pad saves it."""
    path = tmp_path / "my-digits.json"
    path.write_text(samples.write_samples(handwriting(7, 30)), encoding="utf-8")
    return path


def test_finetune_teaches_a_network_drawn_digits(tmp_path, capsys, drawn) -> None:
    small = models.course_network((2, 3, 4)).eval()
    old, new = tmp_path / "old.safetensors", tmp_path / "new folder" / "new.safetensors"
    names = {"network": "course_network", "channels": "2,3,4"}
    checkpoints.save_weights(small, old, **names)
    files = ["--digits", str(drawn), "--weights", str(old), "--out", str(new)]
    assert cli.main(["finetune", *files, "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("my-digits.json, 30 digits, learned from: ")
    assert lines[1].startswith("made-up digits, 25 digits, to see what it forgot: ")
    assert lines[2] == f"weights: {new}"
    tensors, metadata = checkpoints.read_weights(new)
    assert metadata == names
    assert not torch.equal(tensors["conv1.weight"], small.conv1.weight)
    assert torch.equal(tensors["norm1.running_mean"], small.norm1.running_mean)
    digits = samples.to_digits(samples.read_samples(drawn))
    before, after = (
        evaluate(n, digits, "cpu").loss for n in (small, checkpoints.load_network(new))
    )
    assert after < before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("{", "is not JSON"),
        ("[]", "not a file of digits"),
        ('{"version": 2, "digits": []}', "version is 2, expected 1"),
        ('{"version": 1, "digits": []}', "no digit is saved yet"),
        ('{"version": 1, "digits": [{"label": 10, "strokes": [[[1, 2]]]}]}', "label of digit 1"),
        ('{"version": 1, "digits": [{"label": 1, "strokes": []}]}', "digit 1 does not have 1 to"),
    ],
)
def test_a_file_that_holds_no_drawn_digits_is_an_error_in_one_line(
    tmp_path, capsys, text, reason
) -> None:
    path = tmp_path / "my-digits.json"
    if text:
        path.write_text(text, encoding="utf-8")
    new = tmp_path / "new.safetensors"
    assert cli.main(["finetune", "--digits", str(path), "--out", str(new)]) == 1
    assert reason in error_of(capsys)
    assert not new.exists()


def test_finetuned_weights_that_cannot_be_written_are_an_error(
    tmp_path, capsys, drawn, monkeypatch
) -> None:
    monkeypatch.setattr(finetune, "finetune", lambda network, *_, **__: network)
    (tmp_path / "file").touch()
    small = tmp_path / "small.safetensors"
    names = {"network": "course_network", "channels": "2,2,2"}
    checkpoints.save_weights(models.course_network((2, 2, 2)), small, **names)
    files = ["--digits", str(drawn), "--weights", str(small)]
    output = ["--out", str(tmp_path / "file" / "x"), "--device", "cpu"]
    assert cli.main(["finetune", *files, *output]) == 1
    assert "cannot write" in error_of(capsys)


def test_a_name_that_the_output_cannot_show_is_no_failure(tmp_path, picture, monkeypatch) -> None:
    """A pipe on Windows takes the characters of one code page."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", out)
    assert cli.main(["predict", str(picture.rename(tmp_path / "数字.png"))]) == 0
    out.flush()
    assert rb"\u6570\u5b57.png: " in out.buffer.getvalue()


def test_export_without_onnx_says_what_to_install(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert cli.main(["export", "--out", str(tmp_path / "digits.onnx")]) == 1
    assert "pip install onnx" in error_of(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["my-network.mnistnet", "MINE.MNISTNET", ".mnistnet"])
def test_export_for_the_pad_needs_no_onnx(tmp_path, capsys, monkeypatch, name) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    weights, out = tmp_path / "small.safetensors", tmp_path / name
    network = models.course_network((2, 3, 4)).eval()
    checkpoints.save_weights(network, weights, network="course_network", channels="2,3,4")
    assert cli.main(["export", "--weights", str(weights), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: {out.stat().st_size:,} bytes\n"
    pixels = data.to_float(digits(20, 1).images)
    with torch.no_grad():
        read = read_page_weights(out.read_bytes())(pixels)
        assert torch.allclose(read, network(pixels), atol=1e-5)


def write_text(path: Path) -> None:
    path.write_text("not a picture", encoding="utf-8")


def write_blank(path: Path) -> None:
    Image.new("L", (60, 60), 255).save(path)


def write_huge(path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(path)


@pytest.mark.parametrize("write", [None, write_text, write_blank, write_huge])
def test_a_picture_that_cannot_be_read_is_an_error_in_one_line(tmp_path, capsys, write) -> None:
    path = tmp_path / "digit.png"
    if write:
        write(path)
    assert cli.main(["predict", str(path)]) == 1
    assert error_of(capsys).startswith("mnist_course: ")


def test_a_picture_that_cannot_be_read_does_not_hide_the_others(tmp_path, capsys, picture) -> None:
    assert cli.main(["predict", str(tmp_path / "missing.png"), str(picture)]) == 1
    answer = capsys.readouterr()
    assert "missing.png" in answer.err
    assert answer.out.startswith(f"{picture}: 1 ")


@pytest.mark.parametrize("command", [["evaluate"], ["predict", "one.png"]])
def test_weights_that_cannot_be_used_are_an_error_in_one_line(tmp_path, capsys, command) -> None:
    path = tmp_path / "weights.safetensors"
    weights = ["--weights", str(path)]
    assert cli.main([*command, *weights]) == 1
    assert "no file of weights" in error_of(capsys)

    path.write_bytes(b"rubbish" * 50)
    assert cli.main([*command, *weights]) == 1
    assert "not a complete .safetensors" in error_of(capsys)

    other = {"network": "fast_network", "channels": "8,8,8"}
    checkpoints.save_weights(models.course_network((4, 6, 8)), path, **other)
    assert cli.main([*command, *weights]) == 1
    assert "another network" in error_of(capsys)


def test_a_damaged_checkpoint_is_an_error_in_one_line(tmp_path, capsys) -> None:
    command = ["train", "--out", str(tmp_path), "--device", "cpu", "--resume"]
    assert cli.main(command) == 1
    assert "nothing to resume" in error_of(capsys)
    (tmp_path / "last.pt").write_bytes(b"half a file")
    assert cli.main(command) == 1
    assert "delete it" in error_of(capsys)


def test_a_folder_that_cannot_be_written_is_an_error_in_one_line(tmp_path, capsys) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["train", "--out", str(tmp_path / "file"), "--device", "cpu"]) == 1
    assert "cannot write" in error_of(capsys)


def in_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "x"


def a_folder(folder: Path) -> Path:
    (folder / "folder").mkdir()
    return folder / "folder"


@pytest.mark.parametrize("place", [in_a_file, a_folder, lambda folder: folder / ("x" * 300)])
def test_what_cannot_be_written_is_noticed_before_the_work(
    tmp_path, capsys, monkeypatch, drawn, place
) -> None:
    """The same at every door: nothing was trained, nothing exported, nothing lies about."""
    out = place(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    def work(*_, **__):
        raise AssertionError("the work has begun")

    monkeypatch.setattr("mnist_course.finetune.finetune", work)
    monkeypatch.setattr("mnist_course.export.to_onnx", work)
    monkeypatch.setattr(train, "to_float", work)
    commands = [["finetune", "--digits", str(drawn)], ["export"], ["train", "--device", "cpu"]]
    for command in commands if place is not a_folder else commands[:2]:
        assert cli.main([*command, "--out", str(out)]) == 1
        assert f"cannot write {out}" in error_of(capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unfinished_training_is_not_thrown_away(tmp_path, capsys, monkeypatch) -> None:
    command = ["train", "--out", str(tmp_path), "--device", "cpu"]
    forward = torch.nn.GELU.forward

    def press(self, x):
        if self.training:
            monkeypatch.setattr(torch.nn.GELU, "forward", forward)
            signal.raise_signal(signal.SIGINT)
        return forward(self, x)

    monkeypatch.setattr(torch.nn.GELU, "forward", press)
    assert cli.main(command) == 130
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    capsys.readouterr()
    assert cli.main([*command, "--epochs", "1"]) == 1
    message = error_of(capsys)
    assert "has done 1 of its 10 steps" in message
    assert "--resume" in message and "--out" in message and "last.pt" in message
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert cli.main([*command, "--resume"]) == 0
    assert cli.main(command) == 0  # a finished one may be replaced


def test_a_checkpoint_of_another_program_is_not_replaced(tmp_path, capsys) -> None:
    torch.save({"epoch": 5, "model": Foreign()}, tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    assert cli.main(["train", "--out", str(tmp_path), "--device", "cpu"]) == 1
    assert "move it away to start afresh" in error_of(capsys)
    assert (tmp_path / "last.pt").read_bytes() == before


class Foreign:
    """What only another program can read."""


def test_the_file_that_is_read_is_not_written_over(tmp_path, capsys, drawn) -> None:
    weights = tmp_path / "weights.safetensors"
    names = {"network": "course_network", "channels": "2,2,2"}
    checkpoints.save_weights(models.course_network((2, 2, 2)), weights, **names)
    before = {path: path.read_bytes() for path in (drawn, weights)}
    common = ["--weights", str(weights), "--out"]
    assert cli.main(["finetune", "--digits", str(drawn), *common, str(drawn)]) == 1
    assert "is a file that is read" in error_of(capsys)
    assert cli.main(["finetune", "--digits", str(drawn), *common, str(weights)]) == 1
    assert "is a file that is read" in error_of(capsys)
    assert cli.main(["export", *common, str(weights)]) == 1
    assert "is a file that is read" in error_of(capsys)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", ["one.png", "link.png", "weights.safetensors"])
def test_what_the_network_saw_is_not_written_over_what_it_read(
    tmp_path, picture, capsys, name
) -> None:
    weights = tmp_path / "weights.safetensors"
    names = {"network": "course_network", "channels": "2,2,2"}
    checkpoints.save_weights(models.course_network((2, 2, 2)), weights, **names)
    (tmp_path / "link.png").symlink_to(picture)
    before = {path: path.read_bytes() for path in (picture, weights)}
    command = ["predict", "gone.png", str(picture), "--weights", str(weights), "--show"]
    assert cli.main([*command, str(tmp_path / name)]) == 1
    assert "is a file that is read" in error_of(capsys)
    assert {path: path.read_bytes() for path in before} == before


def test_the_home_of_the_user_is_found_in_an_option(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "--out=~/pad.mnistnet"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["pad.mnistnet"]


# --- Whatever names a user's files have, wherever the output goes ---

NAMES = ["数字.png", "größer.png", "a\nb.png", "\x1b[31mred.png", os.fsdecode(b"\xff\xfe.png")]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_every_picture_is_read_whatever_its_name_and_the_code_page(
    tmp_path, monkeypatch, picture, encoding
) -> None:
    paths = []
    for name in NAMES:
        try:
            paths.append(tmp_path / name)
            paths[-1].write_bytes(picture.read_bytes())
        except (OSError, UnicodeError):
            paths.pop()  # not on this disk
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert cli.main(["predict", *map(str, paths), str(picture)]) == 0
    lines = out.buffer.getvalue().decode(encoding).splitlines()
    assert len(lines) == len(paths) + 1
    assert all(line.isprintable() and ": 1 " in line for line in lines)


def test_files_may_be_written_under_any_name(tmp_path, monkeypatch, drawn) -> None:
    small = tmp_path / "小.safetensors"
    names = {"network": "course_network", "channels": "2,2,2"}
    checkpoints.save_weights(models.course_network((2, 2, 2)), small, **names)
    out = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", out)
    new = tmp_path / "网络.safetensors"
    common = ["--weights", str(small), "--out", str(new)]
    assert cli.main(["finetune", "--digits", str(drawn), *common, "--device", "cpu"]) == 0
    checkpoints.load_network(new)
    folder = tmp_path / "训练"
    assert cli.main(["train", "--out", str(folder), "--device", "cpu", "--epochs", "0.2"]) == 0
    checkpoints.load_network(folder / "last.safetensors")


def command_line(*arguments: str, **options) -> subprocess.Popen:
    """The command line in a process of its own."""
    environment = os.environ | {"MNIST_COURSE_DATA": data.STAND_IN, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "mnist_course", *arguments],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment, **options},
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_printed_is_a_failure_without_a_traceback(
    picture, monkeypatch, unbuffered
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        process = command_line("predict", str(picture), stdout=full)
    error = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 1
    reason = (
        "[Errno 28] No space left on device" if unbuffered else "the output could not be printed"
    )
    assert error == f"mnist_course: {reason}\n"


@pytest.mark.skipif(os.name == "nt", reason="pipes are another matter on Windows")
def test_a_reader_that_goes_away_is_no_traceback(picture) -> None:
    process = command_line("predict", str(picture))
    process.stdout.close()
    error = process.stderr.read().decode()
    assert process.wait(120) == 1
    assert "Traceback" not in error and "Exception" not in error
    assert error.count("\n") == 1


def test_the_number_of_a_process_is_believed_only_from_torchrun(capsys, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "3")
    for is_torchrun in (False, True):
        if is_torchrun:
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
        assert cli.main(["predict", "missing.png"]) == 1
        assert error_of(capsys).startswith("mnist_course: process 3: ") == is_torchrun
        cli._warn("a note")
        assert ("a note" in capsys.readouterr().err) != is_torchrun


def test_a_warning_that_is_an_error_is_one_in_one_line(tmp_path, capsys, monkeypatch) -> None:
    def load(*_) -> None:
        warnings.warn("these are others", data.DataWarning, stacklevel=2)

    monkeypatch.setattr(data, "load", load)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cli.main(["train", "--out", str(tmp_path), "--device", "cpu"]) == 1
    assert "these are others" in error_of(capsys)


def test_a_program_without_a_terminal_trains(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    out = ["--out", str(tmp_path), "--device", "cpu"]
    assert cli.main(["train", "--recipe", "sprint", "--epochs", "0.1", *out]) == 0


def test_a_training_that_diverges_is_an_error_in_one_line(tmp_path, capsys, monkeypatch) -> None:
    wild = train.Recipe(optimizer="sgd", learning_rate=1e30, epochs=2, warmup=0)
    monkeypatch.setitem(train.RECIPES, "fast", wild)
    assert cli.main(["train", "--out", str(tmp_path), "--device", "cpu"]) == 1
    assert "learning rate" in error_of(capsys)


def test_an_unknown_recipe_or_device_is_bad_usage(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = ["--out", str(tmp_path)]
    finetune = ["finetune", "--digits", str(tmp_path / "my-digits.json"), *out]
    for command, told in {
        ("train", "--recipe", "slow", *out): "sprint, fast, standard",
        ("train", *out, "--device", "cuda"): "no device 'cuda'",
        ("evaluate", "--device", "cuda"): "no device 'cuda'",
        (*finetune, "--device", "abacus"): "unknown device 'abacus'",
    }.items():
        with pytest.raises(SystemExit) as exit_:
            cli.main(command)
        assert exit_.value.code == 2
        assert told in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bake"],
        ["predict"],
        ["train", "--epochs", "0"],
        ["train", "--epochs", "nan"],
        ["train", "--epochs", "many"],
        ["train", "--seed", "x"],
        ["train", "--seed", "-1"],
        ["train", "--seed", str(2**63)],
        ["train", "--seed", "9" * 5000],
        ["train", "--batch-size", "1.5"],
        ["train", "--batch-size", "9" * 5000],
        ["train", "--batch-size", str(2**63)],
        ["evaluate", "--frobnicate"],
        ["export"],
        ["finetune"],
    ],
)
def test_bad_usage_is_2(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    told = capsys.readouterr().err
    assert "usage:" in told
    assert "_positive" not in told and "_count" not in told and "_seed" not in told
    assert len(told) < 1000


@pytest.mark.parametrize(
    "command", [[], ["train"], ["evaluate"], ["predict"], ["finetune"], ["export"]]
)
def test_help_is_there(command, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([*command, "--help"])
    assert exit_.value.code == 0
    assert "usage: python -m mnist_course" in capsys.readouterr().out


def test_ctrl_c_is_130_and_keeps_what_was_learned(tmp_path, capsys, monkeypatch) -> None:
    forward = torch.nn.GELU.forward

    def press(self, x):
        if self.training:
            monkeypatch.setattr(torch.nn.GELU, "forward", forward)
            signal.raise_signal(signal.SIGINT)
        return forward(self, x)

    monkeypatch.setattr(torch.nn.GELU, "forward", press)
    assert cli.main(["train", "--out", str(tmp_path), "--device", "cpu"]) == 130
    assert "1 of 10 steps" in capsys.readouterr().out
    assert cli.main(["train", "--out", str(tmp_path), "--device", "cpu", "--resume"]) == 0
    assert "10 of 10 steps" in capsys.readouterr().out
    checkpoints.load_network(tmp_path / "last.safetensors")


def test_ctrl_c_while_the_options_are_read_is_no_traceback(capsys, monkeypatch) -> None:
    def press(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(devices, "choose_device", press)
    assert cli.main(["evaluate", "--device", "cpu"]) == 130
    assert "interrupted" in error_of(capsys)


@pytest.mark.parametrize("stderr", [None, "full"])
def test_an_error_that_cannot_be_told_hides_no_answer(picture, capsys, monkeypatch, stderr) -> None:
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", stderr and Full())
    assert cli.main(["predict", "gone.png", str(picture)]) == 1
    told = capsys.readouterr().out
    assert "gone.png" not in told
    assert str(picture) in told


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are another matter on Windows")
def test_ctrl_c_from_outside(tmp_path) -> None:
    command = [sys.executable, "-m", "mnist_course", "train", "--epochs", "1000", "--device", "cpu"]
    environment = os.environ | {"MNIST_COURSE_DATA": data.STAND_IN, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "last.pt").exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in out
    assert "Traceback" not in error
