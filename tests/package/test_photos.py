"""Pictures of digits, made here from real ones as a phone would, give back what they show."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps

from mnist_course import data, pretrained
from mnist_course.photos import ImageError, digit_from_image, read_digit

DIGITS = (0, 4, 5, 7)  # round, open, with a separate bar, slanted; ten would take minutes


@pytest.fixture(scope="module")
def digits() -> data.Digits:
    """The first digit of the test set that belongs to each of these classes."""
    test = data.load("test")
    chosen = [int((test.labels == label).nonzero()[0, 0]) for label in DIGITS]
    return test[chosen]


def enlarged(image: torch.Tensor, side: int = 280) -> Image.Image:
    """The digit as a smooth drawing: white on black, without a margin of its own."""
    picture = Image.fromarray(image.squeeze().numpy())
    return picture.resize((side, side), Image.Resampling.BICUBIC)


def photograph(image: torch.Tensor, seed: int = 0, side: int = 280) -> Image.Image:
    """The digit in blue ink on yellowish paper, off-centre, in uneven light, with noise."""
    random = np.random.default_rng(seed)
    height, width = int(random.integers(400, 700)), int(random.integers(400, 700))
    ink = np.zeros((height, width), np.float32)
    top, left = (int(random.integers(0, length - side)) for length in (height, width))
    ink[top : top + side, left : left + side] = np.asarray(enlarged(image, side)) / 255
    paper, pen = np.array([0.85, 0.8, 0.7]), np.array([0.15, 0.2, 0.45])
    colour = paper + ink[..., None] * (pen - paper)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    angle = random.uniform(0, 2 * np.pi)
    light = 0.75 + 0.35 * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle))
    shadow = 1 / (1 + np.exp(-(x - random.uniform(0.1, 0.9)) / 0.08))  # of a hand, soft
    corners = 0.3 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)  # a lens leaves the corners darker
    light = light * (0.75 + 0.25 * shadow) * (1 - corners)
    colour = colour * light[..., None] + random.normal(0, 0.02, colour.shape)
    return Image.fromarray((colour.clip(0, 1) * 255).astype(np.uint8))


def as_jpeg(picture: Image.Image, quality: int = 70) -> Image.Image:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=quality)
    return Image.open(file)


def in_uneven_colour(picture: Image.Image) -> Image.Image:
    ramp = np.linspace(0.4, 0.9, picture.width)[None, :, None] * np.array([1, 0.9, 0.7])
    ink = np.asarray(picture, np.float32)[..., None] / 255
    return Image.fromarray((255 * ramp * (1 - 0.8 * ink)).astype(np.uint8))


def off_centre(picture: Image.Image) -> Image.Image:
    sheet = Image.new("L", (3 * picture.width, 2 * picture.height), 255)
    sheet.paste(picture.point(lambda value: 255 - value), (picture.width + 70, 11))
    return sheet


def noisy(picture: Image.Image) -> Image.Image:
    grey = 220 - 0.7 * np.asarray(picture, np.float32)
    grey += np.random.default_rng(0).normal(0, 12, grey.shape)
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def with_specks(picture: Image.Image) -> Image.Image:
    sheet = np.asarray(off_centre(picture)).copy()
    for place in np.random.default_rng(0).integers(20, 200, (12, 2)):
        sheet[place[0] : place[0] + 4, place[1] : place[1] + 4] = 0
    return Image.fromarray(sheet)


def under_a_hard_shadow(picture: Image.Image) -> Image.Image:
    sheet = np.asarray(off_centre(picture), np.float32) * 0.6 + 80
    sheet[:, sheet.shape[1] // 2 :] *= 0.55
    return Image.fromarray(sheet.astype(np.uint8))


def cropped_to_the_ink(picture: Image.Image) -> Image.Image:
    return picture.crop(picture.point(lambda value: 255 * (value > 60)).getbbox())


def on_glass(picture: Image.Image, ink: int) -> Image.Image:
    return Image.merge("LA", (Image.new("L", picture.size, ink), picture))


VARIANTS = {
    "white on black": lambda p: p,
    "black on white": lambda p: p.point(lambda value: 255 - value),
    "very small": lambda p: p.resize((28, 28)),
    "small": lambda p: p.resize((60, 60)),
    "large": lambda p: p.resize((1500, 1500)),
    "off-centre": off_centre,
    "coloured, uneven light": in_uneven_colour,
    "noise": noisy,
    "blur": lambda p: p.filter(ImageFilter.GaussianBlur(4)),
    "JPEG": lambda p: as_jpeg(off_centre(p)),
    "specks": with_specks,
    "hard shadow": under_a_hard_shadow,
    "cropped to the ink": cropped_to_the_ink,
    "black on transparent": lambda p: on_glass(p, 0),
    "white on transparent": lambda p: on_glass(p, 255),
    "palette": lambda p: off_centre(p).convert("RGB").convert("P"),
    "one bit": lambda p: p.convert("1", dither=Image.Dither.NONE),
    "sixteen bits": lambda p: Image.fromarray(np.asarray(p).astype(np.uint16) * 257),
    "grey chalk on a board": lambda p: p.point(lambda value: 60 + value // 2),
    "faint pencil": lambda p: p.point(lambda value: 230 - value // 5),
}


def likeness(one: torch.Tensor, other: torch.Tensor) -> float:
    """Cosine of the angle between two pictures: 1 if they are the same up to brightness."""
    return float(torch.cosine_similarity(one.flatten(), other.flatten(), dim=0))


@pytest.fixture(scope="module")
def plain(digits: data.Digits) -> torch.Tensor:
    """What is read from each digit's plainest picture."""
    return torch.cat([digit_from_image(enlarged(image)) for image in digits.images])


def centre_of_mass(digit: torch.Tensor) -> tuple[float, float]:
    middle = torch.arange(28) + 0.5
    mass = digit[0, 0] / digit.sum()
    return float(mass.sum(1) @ middle), float(mass.sum(0) @ middle)


@pytest.mark.mnist  # the stand-in has digits in two pieces
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_picture_gives_back_the_digit(
    digits: data.Digits, plain: torch.Tensor, variant: str
) -> None:
    for image, expected in zip(digits.images, plain, strict=True):
        digit = digit_from_image(VARIANTS[variant](enlarged(image)))
        assert likeness(digit, data.to_float(image)) > 0.9
        assert likeness(digit, expected) > (0.94 if variant == "one bit" else 0.97)


@pytest.mark.mnist
def test_photographs_give_back_the_digit(digits: data.Digits) -> None:
    for seed, image in enumerate(digits.images):
        digit = digit_from_image(as_jpeg(photograph(image, seed)))
        assert likeness(digit, data.to_float(image)) > 0.9


@pytest.mark.mnist
def test_the_result_has_the_form_of_mnist(digits: data.Digits) -> None:
    for seed, image in enumerate(digits.images):
        digit = digit_from_image(photograph(image, seed))
        assert digit.shape == (1, 1, 28, 28)
        assert digit.dtype == torch.float32
        assert digit.min() >= 0 and digit.max() == 1
        assert digit[0, 0, [0, -1]].max() < 0.1, "the background is black"
        assert centre_of_mass(digit) == pytest.approx((14.5, 14.5), abs=0.15)
        rows, columns = (digit[0, 0] > 0.3).nonzero().unbind(1)
        longest = max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) + 1
        assert 18 <= longest <= 21


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_may_be_held_in_any_way(
    digits: data.Digits, orientation: int, tmp_path: Path
) -> None:
    turn = {  # what the camera stored, so that the viewer's turn brings it upright
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = photograph(digits.images[3], seed=3)
    stored = upright.transpose(turn[orientation]) if orientation in turn else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.jpg", quality=95, exif=exif)
    digit = read_digit(tmp_path / "photo.jpg")
    assert likeness(digit, digit_from_image(upright)) > 0.98


def test_a_thin_pen_gets_strokes_as_wide_as_those_of_mnist() -> None:
    page = np.full((600, 600), 240, np.uint8)
    page[100:500, 298:302] = 20  # a "1" of 400 × 4 pixels would be a fifth of a pixel wide
    digit = digit_from_image(page)[0, 0]
    width = digit[8:20].sum(1)
    assert width.min() >= 1.5
    assert width.max() <= 3


def test_arrays_and_pictures_are_read_alike(digits: data.Digits) -> None:
    picture = photograph(digits.images[1])
    as_bytes = np.asarray(picture)
    expected = digit_from_image(picture)
    assert torch.equal(digit_from_image(as_bytes), expected)
    assert torch.equal(digit_from_image(torch.from_numpy(as_bytes.copy())), expected)
    assert torch.equal(digit_from_image(as_bytes / 255), expected)


@pytest.mark.mnist
def test_the_same_picture_gives_the_same_digit_twice(digits: data.Digits) -> None:
    picture = photograph(digits.images[2])
    assert torch.equal(digit_from_image(picture), digit_from_image(picture))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def blank(height: int = 300, noise: float = 4) -> np.ndarray:
    random = np.random.default_rng(0)
    light = np.linspace(120, 220, 400)[None] + random.normal(0, noise, (height, 400))
    return light.clip(0, 255).astype(np.uint8)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no file at '.*seven.png'; give the path"):
        read_digit(tmp_path / "seven.png")
    with pytest.raises(ImageError, match="a folder at"):
        read_digit(tmp_path)


def test_a_text_file_is_no_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "notes.png", b"the digit is a seven")
    with pytest.raises(ImageError, match=r"'notes.png' is not a picture .*; expected a PNG"):
        read_digit(path)


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
def test_a_truncated_file_is_said_to_be_damaged(
    digits: data.Digits, tmp_path: Path, kept: float
) -> None:
    for name, kind in (("photo.jpg", "JPEG"), ("photo.png", "PNG")):
        file = io.BytesIO()
        photograph(digits.images[2]).save(file, kind)
        content = file.getvalue()
        path = write(tmp_path / name, content[: int(kept * len(content))])
        with pytest.raises(ImageError, match=r"damaged or incomplete .*; copy or save"):
            read_digit(path)


@pytest.mark.parametrize("noise", [0, 1, 4, 10, 25])
def test_a_blank_page_is_not_a_digit(noise: float) -> None:
    with pytest.raises(ImageError, match=r"no digit found: .*darker pen"):
        digit_from_image(blank(noise=noise))


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_of_one_grey_is_not_a_digit(value: int) -> None:
    with pytest.raises(ImageError, match="no digit found"):
        digit_from_image(np.full((100, 100), value, np.uint8))


@pytest.mark.parametrize(("width", "height"), [(7100, 7100), (14000, 14000)])
def test_a_huge_picture_is_refused_before_it_is_decoded(
    tmp_path: Path, width: int, height: int
) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (width, height)).save(path)
    with pytest.raises(ImageError, match=r"more than the 50 million allowed; crop it"):
        read_digit(path)


def test_a_tiny_picture_is_refused() -> None:
    with pytest.raises(ImageError, match=r"only 5 × 4 pixels, expected at least 8 × 8; take it"):
        digit_from_image(np.zeros((4, 5), np.uint8))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 28, 28, 3), np.uint8), r"expected an array of shape .* got \(2, 28, 28, 3\)"),
        (np.eye(28, dtype=np.int64), r"got torch.int64 from 0 to 1; bring them"),
        (np.full((28, 28), 300), r"got torch.int64 from 300 to 300; bring them"),
        (np.full((28, 28), 200.0), r"got torch.float64 from 200 to 200; bring them"),
        (np.full((28, 28), np.nan), r"got torch.float64 from nan to nan"),
        (np.zeros((0, 28)), "only 28 × 0 pixels"),
        (np.ma.masked_less(np.ones((28, 28)), 2), "some are masked"),
        (torch.zeros(28, 28, device="meta"), "holds no numbers"),
        (np.broadcast_to(np.uint8(0), (10**5, 10**5)), "more than the 50 million allowed"),
        ("seven.png", "got str"),
        (None, "got NoneType"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(array: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        digit_from_image(array)


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture.long(),
        lambda picture: picture.numpy().astype(np.uint16),
        lambda picture: picture.tolist(),
        lambda picture: (picture / 255).requires_grad_(),
        lambda picture: (picture / 255).to_sparse(),
    ],
    ids=["int64", "uint16", "lists", "with a gradient", "sparse"],
)
def test_an_array_of_another_type_is_the_same_picture(digits: data.Digits, change: Any) -> None:
    picture = torch.from_numpy(np.asarray(enlarged(digits.images[0]).convert("L")).copy())
    assert torch.equal(digit_from_image(change(picture)), digit_from_image(picture))


def test_pixels_that_are_no_numbers_are_named() -> None:
    with pytest.raises(ImageError, match="some pixels are not finite"):
        digit_from_image(Image.fromarray(np.full((28, 28), np.nan, np.float32)))


def test_a_picture_that_cannot_be_decoded_is_said_to_be_damaged(
    tmp_path: Path, digits: data.Digits
) -> None:
    path = tmp_path / "cut.png"
    enlarged(digits.images[0]).save(path)
    with (
        Image.open(write(path, path.read_bytes()[:200])) as picture,
        pytest.raises(ImageError, match="the picture is damaged or incomplete"),
    ):
        digit_from_image(picture)


def test_notes_about_the_camera_that_make_no_sense_are_not_the_picture(
    digits: data.Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = enlarged(digits.images[0])
    expected = digit_from_image(picture)

    def fail(image: Image.Image) -> None:
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(ImageOps, "exif_transpose", fail)
    assert torch.equal(digit_from_image(picture), expected)


def test_no_other_program_is_started_to_read_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program is started"))
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n"
    with pytest.raises(ImageError, match="is not a picture that can be read"):
        read_digit(write(tmp_path / "seven.png", page))


def test_a_name_that_is_too_long_is_no_file() -> None:
    with pytest.raises(ImageError, match="no file at"):
        read_digit("x" * 5000)


def test_messages_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        read_digit(write(tmp_path / "empty.jpg", b""))
    assert "\n" not in str(caught.value)


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.skipif(not pretrained.WEIGHTS.exists(), reason="the package holds no trained network")
def test_a_network_trained_on_mnist_reads_photographs() -> None:
    network = pretrained.load()
    test = data.load("test")[:40]
    photos = torch.cat(
        [digit_from_image(as_jpeg(photograph(x, seed))) for seed, x in enumerate(test.images)]
    )
    with torch.no_grad():
        accuracy = (network(photos).argmax(1) == test.labels).float().mean()
    assert accuracy >= 0.95
