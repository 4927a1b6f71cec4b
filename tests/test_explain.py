"""What a piece of a picture is worth to an answer."""

import pytest
import torch
from torch import nn

from mnist_course.explain import log_odds, occlusion
from mnist_course.models import course_network
from tests.networks import shaken


def test_log_odds_are_those_of_the_softmax():
    logits = torch.randn(5, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = logits.softmax(1)[:, 3]
    assert torch.allclose(log_odds(logits, 3), (p / (1 - p)).log())


class Counts(nn.Module):
    """The logit of 1 is the ink in the upper left quarter, all others are 0."""

    def forward(self, x):
        logits = x.new_zeros(len(x), 10)
        logits[:, 1] = x[:, 0, :14, :14].sum((1, 2))
        return logits


def test_a_pixel_is_worth_what_the_windows_over_it_take_away():
    image = torch.zeros(1, 28, 28)
    image[0, 5, 6] = image[0, 20, 20] = 1.0  # one pixel that counts and one that does not
    worth = occlusion(Counts(), image, 1)
    # Each of the nine windows over a pixel covers the point, or not, and takes away 1.
    assert worth[5, 6] == pytest.approx(1)
    assert worth[5, 0] == 0 and worth[20, 20] == 0
    assert worth.sum() == pytest.approx(36)  # 36 pixels under each of nine windows, ninths


def test_blank_paper_is_worth_nothing_and_the_network_is_left_as_it_was():
    network = shaken(course_network()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert not occlusion(network, torch.zeros(1, 28, 28), 3).any()
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("image", "digit", "window", "message"),
    [
        (torch.zeros(28, 28), 3, 6, "shape"),
        (torch.zeros(1, 28, 28), 10, 6, "digit"),
        (torch.zeros(1, 28, 28), 1, 5, "multiple"),
    ],
)
def test_what_cannot_be_explained_is_refused(image, digit, window, message):
    with pytest.raises(ValueError, match=message):
        occlusion(Counts(), image, digit, window)
