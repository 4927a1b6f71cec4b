"""What the chapter about training that you can trust defines does what the text says."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course import data
from mnist_course.evaluate import evaluate
from tests.chapters.definitions import definitions
from tests.made_up import digits

chapter = definitions("trust")


def test_in_train_mode_the_answers_depend_on_the_batches_and_the_network_stays() -> None:
    network, some = chapter["new_network"](), digits(60)
    before = copy.deepcopy(network)
    scores = {chapter["accuracy"](network, some, size, "train") for size in (1, 2, 5, 60)}
    assert len(scores) > 1
    assert chapter["same_weights"](network, before)


def test_no_grad_keeps_nothing_and_a_layer_keeps_its_input() -> None:
    x = torch.rand(50, 784)
    layer = nn.Sequential(nn.Linear(784, 300), nn.ReLU())
    kept, _ = chapter["kept_bytes"](layer, x)
    assert kept >= x.nbytes + 50 * 300 * 4  # the input of the one, the output of the other
    with torch.no_grad():
        assert chapter["kept_bytes"](layer, x)[0] == 0


def test_a_sum_of_losses_remembers_every_step() -> None:
    layer, x, y = nn.Linear(4, 3), torch.rand(2, 4), torch.tensor([0, 2])
    sizes, total = [], 0
    for _ in range(4):
        total = total + F.cross_entropy(layer(x), y)
        sizes.append(chapter["graph_size"](total))
    steps = [b - a for a, b in pairwise(sizes)]
    assert min(steps) > 0 and len(set(steps[1:])) == 1
    assert chapter["graph_size"](total.detach()) == 0


def test_the_dataset_counts_and_gives_what_the_tensors_hold() -> None:
    some = digits(5)
    dataset = chapter["OneByOne"](some)
    image, label = dataset[3]
    assert dataset.asked == 1 and len(dataset) == 5
    assert torch.equal(image, data.to_float(some.images[3])) and label == int(some.labels[3])


@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_in_eval_mode_the_accuracy_is_the_courses_and_the_network_stays(batch_size) -> None:
    network, some = chapter["new_network"](), digits(60)
    expected = evaluate(network, some, "cpu").accuracy
    network.train()
    assert chapter["accuracy"](network, some, batch_size) == pytest.approx(expected)
    assert network.training


def test_statistics_estimated_again_are_the_mean_of_the_batches() -> None:
    network, some = chapter["new_network"](), digits(1000)
    weights = [w.clone() for w in network.parameters()]
    chapter["estimate_again"](network, some)
    with torch.no_grad():
        maps = [network[0](data.to_float(images)) for images, _ in some.batches(500)]
    means = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    torch.testing.assert_close(network[1].running_mean, means)
    assert all(map(torch.equal, weights, network.parameters()))


def test_twenty_digits_are_learned_by_heart_and_not_with_a_broken_loop() -> None:
    some = digits(20)
    by_heart = chapter["by_heart"]
    by_heart.__globals__["training"] = some
    network, other = chapter["new_network"](), chapter["new_network"](1)
    assert by_heart(other, network) > 1
    assert by_heart(network, network) < 0.2
    assert by_heart(other, other, chapter["softmax_twice"]) > 1.4
