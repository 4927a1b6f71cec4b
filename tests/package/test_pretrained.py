"""The network that ships: it loads, it reads, and its card tells the truth."""

import json

import pytest
import torch

from benchmarks import strokes, train_pretrained
from mnist_course import checkpoints, data, models, pretrained
from mnist_course.evaluate import evaluate, expected_calibration_error, predict
from tests.made_up import digits


@pytest.fixture(scope="module")
def numbers() -> dict:
    return json.loads(train_pretrained.NUMBERS.read_text(encoding="utf-8"))


def test_it_loads_in_eval_mode_on_the_cpu() -> None:
    model = pretrained.load()
    assert not any(module.training for module in model.modules())
    assert {weights.device.type for weights in model.parameters()} == {"cpu"}
    assert {weights.dtype for weights in model.parameters()} == {torch.float32}
    assert all(weights.isfinite().all() for weights in model.state_dict().values())


def test_it_is_the_network_of_the_course_and_small() -> None:
    model = pretrained.load()
    expected = models.course_network()
    assert [type(layer) for layer in model] == [type(layer) for layer in expected]
    assert pretrained.WEIGHTS.stat().st_size <= 400_000
    # With batch norm folded into the convolutions, as half-precision numbers for a page.
    folded = sum(w.numel() for name, w in model.named_parameters() if "norm" not in name)
    assert 2 * folded <= 130_000


def test_two_loads_do_not_share_weights() -> None:
    first, second = pretrained.load(), pretrained.load()
    first.conv1.weight.data.zero_()
    assert second.conv1.weight.abs().sum() > 0


def test_it_reads_simple_drawings() -> None:
    one = torch.zeros(1, 1, 28, 28)
    one[:, :, 4:24, 13:16] = 1
    zero = torch.zeros(1, 1, 28, 28)
    y, x = torch.meshgrid(torch.arange(28) - 13.5, torch.arange(28) - 13.5, indexing="ij")
    radius = ((x / 0.75) ** 2 + y**2).sqrt()
    zero[0, 0] = (1.8 - (radius - 8).abs()).clamp(0, 1)
    assert predict(pretrained.load(), torch.cat([one, zero])).argmax(1).tolist() == [1, 0]


def test_the_card_is_made_from_its_numbers(numbers) -> None:
    card = train_pretrained.CARD.read_text(encoding="utf-8")
    assert card == train_pretrained.card(numbers)
    assert f"{numbers['test']['accuracy']:.2%}" in card


def test_the_numbers_are_of_this_file_and_this_recipe(numbers) -> None:
    assert numbers["bytes"] == pretrained.WEIGHTS.stat().st_size
    assert numbers["parameters"] == sum(w.numel() for w in pretrained.load().parameters())
    assert numbers["recipe"]["augmentation"] == str(train_pretrained.RECIPE.augmentation)
    assert numbers["recipe"]["epochs"] == train_pretrained.RECIPE.epochs
    finishes = [train_pretrained.settings(recipe) for recipe in train_pretrained.FINISHES]
    assert numbers["finishes"] == json.loads(json.dumps(finishes))
    mixed_in = [train_pretrained.INVENTED, train_pretrained.FINISH_INVENTED]
    assert numbers["invented_digits"] == mixed_in
    assert numbers["seed"] == train_pretrained.SEED


@pytest.mark.mnist
def test_it_reads_the_test_digits_as_the_card_says(numbers) -> None:
    result = evaluate(pretrained.load(), data.load("test"))
    assert result.accuracy >= 0.994
    assert result.accuracy == pytest.approx(numbers["test"]["accuracy"], abs=3e-4)


@pytest.mark.mnist
def test_it_reads_pen_strokes_as_the_card_says_and_is_as_sure_as_it_may_be(numbers) -> None:
    try:
        halves = strokes.halves(strokes.pen_strokes())
    except SystemExit:
        pytest.skip("no pen strokes: MNIST_COURSE_DATA has no pendigits/train.jsonl")
    result = strokes.read(pretrained.load(), halves["reporting"])
    assert result.accuracy == pytest.approx(numbers["pen_reporting"]["accuracy"], abs=6e-4)
    assert result.accuracy >= 0.987
    assert expected_calibration_error(result.probabilities, result.labels) < 0.02


def test_a_file_of_ones_own_is_loaded(tmp_path) -> None:
    model = models.fast_network((4, 6, 8)).eval()
    path = tmp_path / "own.safetensors"
    checkpoints.save_weights(model, path, network="fast_network", channels="4,6,8")
    images = digits(5).images
    assert torch.equal(predict(checkpoints.load_network(path), images), predict(model, images))


def test_half_precision_weights_are_loaded_as_single(tmp_path) -> None:
    model = models.course_network((4, 6, 8)).half()
    path = tmp_path / "half.safetensors"
    checkpoints.save_weights(model, path, network="course_network", channels="4,6,8")
    loaded = checkpoints.load_network(path)
    assert loaded.conv1.weight.dtype == torch.float32
    assert torch.equal(loaded.conv1.weight, model.conv1.weight.float())


def test_files_that_cannot_be_used_are_named(tmp_path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(checkpoints.CheckpointError, match="no file of weights"):
        checkpoints.load_network(path)

    path.write_bytes(b"\x00" * 100)
    with pytest.raises(checkpoints.CheckpointError, match=r"not a complete \.safetensors"):
        checkpoints.load_network(path)

    path.write_bytes(pretrained.WEIGHTS.read_bytes()[:-1000])
    with pytest.raises(checkpoints.CheckpointError, match=r"not a complete \.safetensors"):
        checkpoints.load_network(path)

    checkpoints.save_weights(torch.nn.Linear(2, 3), path)
    with pytest.raises(checkpoints.CheckpointError, match="does not name its network"):
        checkpoints.load_network(path)

    for lie in (
        {"network": "fast_network", "channels": "8,8,8"},
        {"network": "course_network", "channels": "many"},
        {"network": "nn"},
        {"network": "build"},
        {"network": "annotations"},
    ):
        checkpoints.save_weights(models.course_network((4, 6, 8)), path, **lie)
        with pytest.raises(checkpoints.CheckpointError, match=r"another network|cannot be built"):
            checkpoints.load_network(path)


def test_a_wrong_file_leaves_the_model_alone(tmp_path) -> None:
    path = tmp_path / "weights.safetensors"
    checkpoints.save_weights(models.course_network((4, 6, 8)), path)
    model = models.course_network((4, 6, 9))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(checkpoints.CheckpointError, match="another network"):
        checkpoints.load_weights(model, path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
