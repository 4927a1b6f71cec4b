"""The pad's Python side: its answers to a view, and the digits that are saved on it."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from mnist_course.digitpad import DigitPad
from mnist_course.export import UnsupportedLayerError, page_weights
from mnist_course.models import course_network
from mnist_course.samples import SamplesError, read_samples, to_dataset
from mnist_course.strokes import preprocess
from tests.drawings import DIGITS
from tests.networks import shaken

SAMPLES = [{"label": label, "strokes": strokes, "time": 5} for label, strokes in DIGITS.items()]
IMAGE = preprocess(DIGITS[3])


class Answers(DigitPad):
    """A pad that keeps what it sends."""

    def send(self, content, buffers=None) -> None:
        self.sent = content, buffers


def ask(pad: Answers, image: np.ndarray = IMAGE, **question) -> tuple[dict, np.ndarray]:
    content = {"type": "read", "view": "v", "number": 7, **question}
    pad._handle_custom_msg(content, [memoryview(image.astype("<f4").tobytes())])
    answer, buffers = pad.sent
    return answer, np.frombuffer(buffers[0], "<f4") if buffers else np.array([])


def test_an_answer_carries_the_number_of_its_question_and_the_probabilities() -> None:
    model = shaken(course_network((4, 8, 8)))
    answer, probs = ask(Answers(model))
    assert (answer["type"], answer["view"], answer["number"]) == ("answer", "v", 7)
    expected = model(torch.from_numpy(IMAGE)[None, None]).softmax(1)[0]
    np.testing.assert_allclose(probs, expected.detach(), rtol=1e-5)


def test_on_demand_the_answer_carries_every_layer() -> None:
    answer, values = ask(Answers(shaken(course_network((4, 8, 8)))), layers=True)
    shapes = {layer["name"]: tuple(layer["shape"]) for layer in answer["layers"]}
    assert shapes["conv1"] == (4, 28, 28)
    assert shapes["linear"] == (10,)
    assert len(values) == 10 + sum(np.prod(shape) for shape in shapes.values())


def test_the_pad_reads_with_a_copy_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(784, 10)).train()
    pad = Answers(model)
    before = ask(pad)[1]
    nn.init.zeros_(model[2].weight)  # training goes on
    np.testing.assert_array_equal(ask(pad)[1], before)
    assert model.training
    pad.model = model
    assert not np.array_equal(ask(pad)[1], before)
    assert pad.weights == page_weights(model, "float32")


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of ink")


def test_a_network_that_fails_is_an_answer_too() -> None:
    answer, _ = ask(Answers(Broken()))
    assert answer["error"] == "The network failed: RuntimeError: out of ink"


def test_logits_of_another_shape_are_refused() -> None:
    answer, _ = ask(Answers(nn.Sequential(nn.Flatten(), nn.Sigmoid(), nn.Linear(784, 3))))
    assert "expected logits of shape (1, 10), got (1, 3)" in answer["error"]


@pytest.mark.parametrize("size", [0, 100])
def test_an_image_of_another_size_is_refused(size) -> None:
    answer, _ = ask(Answers(course_network((2, 2, 2))), np.zeros(size))
    assert "ValueError" in answer["error"]


def test_a_network_that_the_browser_cannot_run_is_left_to_the_kernel() -> None:
    assert DigitPad(Broken()).weights == b""
    with pytest.raises(UnsupportedLayerError, match="Broken"):
        DigitPad(Broken(), engine="browser")


def test_what_is_not_a_network_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected a network \(torch.nn.Module\), got str"):
        DigitPad("model.pt")


def test_without_a_network_the_shipped_one_reads() -> None:
    probs = ask(Answers())[1]
    assert probs.argmax() == 3


def test_a_page_gets_a_picture_and_words_and_no_weights() -> None:
    data, _ = DigitPad()._repr_mimebundle_()
    assert 'data-figure="digitpad"' in data["text/html"]
    assert "28 by 28 grey pixels" in data["text/html"]
    assert len(data["text/html"]) < 50_000
    assert data["text/html"] == DigitPad(Broken())._repr_mimebundle_()[0]["text/html"]


def test_saved_digits_become_a_data_set_and_a_file(tmp_path) -> None:
    pad = DigitPad(course_network((2, 2, 2)))
    with pytest.raises(SamplesError, match="no digit is saved yet"):
        pad.dataset()
    pad.samples = SAMPLES
    images, labels = pad.dataset().tensors
    assert images.shape == (10, 1, 28, 28)
    assert images.dtype == torch.float32
    assert labels.tolist() == list(range(10))
    torch.testing.assert_close(images[3, 0], torch.from_numpy(IMAGE))
    path = tmp_path / "my-digits.json"
    path.write_text(pad.to_json(), encoding="utf-8")
    assert read_samples(path) == SAMPLES
    assert torch.equal(to_dataset(read_samples(path)).tensors[0], images)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": "7"}, "label of digit 2"),
        ({"label": True}, "label of digit 2"),
        ({"label": 10}, "label of digit 2"),
        ({"label": 1.5}, "label of digit 2"),
        ({"time": -1}, "time of digit 2"),
        ({"time": "now"}, "time of digit 2"),
        ({"strokes": []}, "digit 2 does not have 1 to 50 strokes"),
        ({"strokes": [[[1, 2]]] * 51}, "digit 2 does not have 1 to 50 strokes"),
        ({"strokes": [[]]}, "a stroke of digit 2"),
        ({"strokes": [[[1, 2]] * 2001]}, "a stroke of digit 2"),
        ({"strokes": [[[1, 2, 3]]]}, "a point of digit 2"),
        ({"strokes": [[["1", 2]]]}, "a point of digit 2"),
        ({"strokes": [[[float("nan"), 2]]]}, "a point of digit 2"),
        ({"strokes": [[[1e7, 2]]]}, "a point of digit 2"),
    ],
)
def test_digits_that_are_not_digits_are_refused_with_the_reason(tmp_path, change, reason) -> None:
    digits = [SAMPLES[0], {**SAMPLES[1], **change}]
    pad = DigitPad(course_network((2, 2, 2)))
    with pytest.raises(SamplesError, match=reason):
        pad.samples = digits
    assert pad.samples == []
    path = tmp_path / "my-digits.json"
    text = json.dumps({"version": 1, "digits": digits})
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SamplesError, match="is not JSON" if "NaN" in text else reason):
        read_samples(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<html>", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "not a file of digits"),
        ('{"version": 2, "digits": []}', "not a file of digits"),
        ('{"version": 1}', "expected a list"),
        ('{"version": 1, "digits": "0123"}', "expected a list"),
        ('{"version": 1, "digits": [5]}', "digit 1 is not an object"),
        (json.dumps({"version": 1, "digits": SAMPLES[:1] * 2001}), "at most 2000 digits, got 2001"),
        (" " * (5 << 20), "larger than 4 MB"),
    ],
    ids=range(9),
)
def test_files_that_hold_no_digits_are_refused_with_the_reason(tmp_path, text, reason) -> None:
    path = tmp_path / "my-digits.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SamplesError, match=reason):
        read_samples(path)
