"""Augmentations change digits as they say, each by its own numbers, and the same for a seed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from mnist_course.augment import Affine, Cutout, Elastic, Sequence, Shift, Stroke

ALL = [
    Shift(1),
    Shift(3),
    Affine(),
    Elastic(),
    Stroke(),
    Cutout(),
    Sequence((Affine(20, 0.2, 0.2, 2), Stroke(0.5, 1.0), Shift(1))),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(n: int = 8) -> torch.Tensor:
    """``n`` times the same picture: a bar, off centre, well away from the edge."""
    images = torch.zeros(n, 1, 28, 28)
    images[:, :, 8:19, 11:14] = 1
    images[:, :, 8:11, 11:19] = 1
    return images


def centre(images: torch.Tensor) -> torch.Tensor:
    """Centres of mass, ``(N, 2)``: row and column."""
    places = torch.stack(torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij"))
    mass = images.sum((1, 2, 3))
    return (images * places[None]).sum((2, 3)) / mass[:, None]


@pytest.mark.parametrize("change", ALL, ids=str)
def test_shape_dtype_and_range_stay_and_the_input_too(change) -> None:
    images = torch.rand(16, 1, 28, 28, generator=generator(1))
    before = images.clone()
    changed = change(images, generator())
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert changed.min() >= 0
    assert changed.max() <= 1 + 1e-6
    assert torch.equal(images, before)


@pytest.mark.parametrize("change", ALL, ids=str)
def test_the_generator_decides(change) -> None:
    images = blob()
    assert torch.equal(change(images, generator(3)), change(images, generator(3)))
    assert not torch.equal(change(images, generator(3)), change(images, generator(4)))


@pytest.mark.parametrize("change", ALL, ids=str)
def test_every_image_is_changed_by_its_own_numbers(change) -> None:
    changed = change(blob(32), generator()).flatten(1)
    assert len(changed.unique(dim=0)) > 5


@pytest.mark.parametrize("change", ALL, ids=str)
def test_an_empty_picture_stays_empty(change) -> None:
    assert change(torch.zeros(4, 1, 28, 28), generator()).abs().max() == 0


@given(
    pixels=st.integers(0, 3),
    channels=st.integers(1, 2),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    seed=st.integers(0, 99),
)
def test_a_shift_equals_padding_and_cutting_out(pixels, channels, height, width, seed) -> None:
    images = torch.randint(0, 256, (5, channels, height, width), generator=generator(seed)).byte()
    shifted = Shift(pixels)(images, generator(seed))
    padded = F.pad(images, (pixels,) * 4)
    size = 2 * pixels + 1
    for image, result in zip(padded, shifted, strict=True):
        windows = (
            image[:, y : y + height, x : x + width] for y in range(size) for x in range(size)
        )
        assert any(torch.equal(result, window) for window in windows)


def test_a_shift_reaches_every_place_equally_often() -> None:
    images = torch.zeros(9000, 1, 5, 5)
    images[:, :, 2, 2] = 1
    often = Shift(1)(images, generator()).sum((0, 1))
    assert often[0].sum() == often[:, 4].sum() == 0
    assert (often[1:4, 1:4] - 1000).abs().max() < 150


def test_an_affine_change_of_nothing_changes_nothing() -> None:
    images = torch.rand(4, 1, 28, 28, generator=generator())
    assert torch.allclose(Affine(0, 0, 0, 0)(images, generator()), images, atol=1e-5)


def test_affine_moves_by_up_to_its_shift() -> None:
    moved = centre(Affine(0, 0, 0, 2)(blob(500), generator())) - centre(blob(1))
    assert moved.abs().max() <= 2.01
    assert moved.abs().max() > 1.8
    assert moved.mean().abs() < 0.1


def test_affine_scales_width_and_height_apart() -> None:
    scaled = Affine(0, 0.2, 0, 0)(blob(500), generator())
    heights = scaled.amax(3).sum((1, 2)) / blob(1).amax(3).sum()
    widths = scaled.amax(2).sum((1, 2)) / blob(1).amax(2).sum()
    for factors in (heights, widths):
        assert 0.75 < factors.min() < 0.9
        assert 1.1 < factors.max() < 1.25
    assert torch.corrcoef(torch.stack([heights, widths]))[0, 1].abs() < 0.2


def test_affine_turns_by_up_to_its_degrees() -> None:
    line = torch.zeros(500, 1, 28, 28)
    line[:, :, 4:24, 13:15] = 1
    turned = Affine(20, 0, 0, 0)(line, generator())
    columns = torch.arange(28.0)

    def middle(row: int) -> torch.Tensor:
        return (turned[:, 0, row] * columns).sum(1) / turned[:, 0, row].sum(1)

    angles = torch.atan2(middle(8) - middle(19), torch.tensor(11.0)).rad2deg()
    assert angles.abs().max() <= 21
    assert angles.min() < -17
    assert angles.max() > 17


@pytest.mark.parametrize("height, width", [(20, 28), (28, 20), (22, 24)])
def test_a_change_does_not_depend_on_the_margin(height, width) -> None:
    """A picture that is not square is turned and slanted as if it were cut out of one that is."""

    def cut_out(images: torch.Tensor) -> torch.Tensor:
        top, left = (28 - height) // 2, (28 - width) // 2
        return images[..., top : top + height, left : left + width].contiguous()

    for change in (Affine(30, 0.1, 0.3, 1), Elastic(30, 0.1, 0.3, 1, bend=0)):
        changed = change(cut_out(blob(50)), generator())
        assert torch.allclose(changed, cut_out(change(blob(50), generator())), atol=1e-4)


def test_rubber_that_does_not_bend_is_the_affine_change() -> None:
    affine, stiff = Affine(15, 0.2, 0.1, 2), Elastic(15, 0.2, 0.1, 2, bend=0)
    # The same digits, each by the same angle and so on: only the bending draws numbers besides.
    for seed in range(3):
        numbers = generator(seed)
        torch.empty(2 * 8, stiff.cells**2).normal_(generator=numbers)
        assert torch.allclose(affine(blob(), numbers), stiff(blob(), generator(seed)), atol=1e-6)


def test_rubber_moves_each_part_by_itself_and_as_far_as_it_says() -> None:
    spots = []
    for y, x in [(4, 4), (4, 22), (22, 4), (22, 22)]:
        spot = torch.zeros(400, 1, 28, 28)
        spot[:, :, y - 1 : y + 2, x - 1 : x + 2] = 1
        bent = Elastic(0, 0, 0, 0, bend=1.0)(spot, generator())
        spots.append(centre(bent) - centre(spot[:1]))
    moved = torch.stack(spots)  # (4, N, 2)
    # Between the places of the grid, displacements are means of several and so a little smaller.
    assert 0.5 < moved.std() < 1.1
    assert moved.mean().abs() < 0.1
    together = torch.corrcoef(moved[:, :, 0])
    assert (together - torch.eye(4)).abs().max() < 0.25


@pytest.mark.parametrize("height, width", [(28, 28), (20, 12)])
def test_rubber_bends_smoothly(height, width) -> None:
    """A ramp of grey stays a ramp, up to what the displacements differ from pixel to pixel."""
    ramp = torch.linspace(0, 1, width).expand(50, 1, height, width).contiguous()
    bent = Elastic(0, 0, 0, 0, bend=0.5, cells=4)(ramp, generator())
    inside = bent[..., 3:-3, 3:-3]
    assert (inside.diff(dim=2).abs() < 1 / width).all()
    assert not torch.allclose(bent, ramp, atol=0.5 / width)


def test_a_cut_out_is_one_square_of_background_anywhere_inside() -> None:
    images = torch.ones(2_000, 1, 28, 28)
    holes = Cutout(8)(images, generator()) == 0
    assert (holes.sum((1, 2, 3)) == 64).all()
    assert (holes.any(3).sum((1, 2)) == 8).all()
    assert (holes.any(2).sum((1, 2)) == 8).all()
    assert set(holes[:, 0, :, :].any(2).int().argmax(1).tolist()) == set(range(21))
    assert set(holes[:, 0, :, :].any(1).int().argmax(1).tolist()) == set(range(21))


def test_thicker_and_thinner_are_the_largest_and_the_smallest_of_the_neighbours() -> None:
    images = torch.rand(20, 1, 28, 28, generator=generator())
    amount = torch.empty(20).uniform_(-1, 1, generator=generator(5)).view(-1, 1, 1, 1)
    largest = F.max_pool2d(images, 3, stride=1, padding=1)
    smallest = -F.max_pool2d(-images, 3, stride=1, padding=1)
    target = torch.where(amount > 0, largest, smallest)
    expected = images + amount.abs() * (target - images)
    assert torch.allclose(Stroke(1, 1)(images, generator(5)), expected, atol=1e-6)


def test_thicker_adds_ink_and_thinner_takes_it() -> None:
    images = blob(50)
    assert (Stroke(0, 1)(images, generator()) >= images).all()
    assert (Stroke(1, 0)(images, generator()) <= images).all()
    assert Stroke(0, 1)(images, generator()).sum() > images.sum()
    assert Stroke(1, 0)(images, generator()).sum() < images.sum()


def test_a_sequence_is_its_parts_one_after_the_other() -> None:
    first, second = Shift(2), Stroke()
    numbers = generator()
    expected = second(first(blob(), numbers), numbers)
    assert torch.equal(Sequence((first, second))(blob(), generator()), expected)


FLOATING = [Affine(), Elastic(), Stroke()]


@pytest.mark.parametrize("change", [Shift(), Cutout(), *FLOATING], ids=repr)
def test_what_is_no_batch_is_named(change) -> None:
    draws = generator()
    with pytest.raises(ValueError, match=r"got \(1, 28, 28\); a single one"):
        change(torch.rand(1, 28, 28), draws)
    with pytest.raises(TypeError, match="got ndarray"):
        change(torch.rand(2, 1, 28, 28).numpy(), draws)
    assert change(torch.rand(0, 1, 28, 28), draws).shape == (0, 1, 28, 28)


@pytest.mark.parametrize("change", FLOATING, ids=repr)
def test_bytes_are_not_mixed_as_if_they_were_floats(change) -> None:
    with pytest.raises(TypeError, match=r"expected pixels as floats, got Tensor of torch.uint8"):
        change(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.Generator())


def test_strokes_are_not_made_thicker_than_their_dilation() -> None:
    with pytest.raises(ValueError, match="thinner and thicker must be 0 to 1"):
        Stroke(0.5, 1.5)


def test_a_sequence_has_parts_that_can_be_called() -> None:
    assert Sequence([Shift()]) == Sequence((Shift(),))
    for wrong in (Shift(), ("Shift",), None):
        with pytest.raises(TypeError, match="parts must be several augmentations"):
            Sequence(wrong)
