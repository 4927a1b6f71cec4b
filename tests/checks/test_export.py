"""The checks of chapter 21 accept right answers and name each plausible mistake."""

import json
import struct

import numpy as np
import pytest
import safetensors.torch
import torch

from mnist_course.checks import export as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong, cases

chapter = definitions("export")
NAMES = {
    "write_safetensors": ["safetensors"],
    "fold_before": ["fold_before"],
    "packing": ["pack", "unpack"],
    "mended_service": ["service"],
    "best_scale": ["scale"],
}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NAMES)
def test_right_answers_are_accepted(name):
    assert_right(getattr(check, name)(*(chapter[f"solution_{part}"] for part in NAMES[name])))


def test_the_librarys_own_file_is_accepted():
    assert check.write_safetensors(safetensors.torch.save)


@pytest.mark.parametrize("name", NAMES)
def test_stubs_are_told_to_begin(name):
    assert_not_begun(getattr(check, name)(*(chapter[f"my_{part}"] for part in NAMES[name])))


def file(length="<Q", dtype="F32", extra=0, tail=b"", shape=list, place=lambda a, b: [a, b]):
    """A writer of .safetensors files with a choice of mistakes."""

    def write(tensors):
        header, body = {}, b""
        for name, tensor in tensors.items():
            values = tensor.numpy().astype("<f4").tobytes()
            offsets = place(len(body), len(body) + len(values))
            header[name] = {"dtype": dtype, "shape": shape(tensor.shape), "data_offsets": offsets}
            body += values
        text = json.dumps(header).encode()
        return struct.pack(length, len(text) + extra) + text + body + tail

    return write


def numbers_big_endian(tensors):
    content = bytearray(file()(tensors))
    (length,) = struct.unpack("<Q", content[:8])
    content[8 + length :] = np.frombuffer(content[8 + length :], "<f4").astype(">f4").tobytes()
    return bytes(content)


def fold(factor=lambda g, v, e: g / (v + e).sqrt(), shift=lambda a, b, m: b - a * m, rows=False):
    """Fold batch norm into the linear layer behind it, with a choice of mistakes."""

    def folded(w, b, gamma, beta, mean, variance, eps):
        a = factor(gamma, variance, eps)
        return (w * a[:, None] if rows else w * a), b + w @ shift(a, beta, mean)

    return folded


def fold_with_the_new_weight(w, b, gamma, beta, mean, variance, eps):
    a = gamma / (variance + eps).sqrt()
    return w * a, b + (w * a) @ (beta - a * mean)


right_pack, right_unpack = chapter["solution_pack"], chapter["solution_unpack"]


def service(prepare, axis=True, first=True):
    """A web service that prepares bytes in some way."""

    def logits(session, pictures):
        pixels = prepare(pictures)
        answer = session.run(None, {"pixels": pixels[:, None] if axis else pixels})
        return answer[0] if first else answer

    return logits


def floats(pictures):
    return pictures.astype(np.float32)


WRONG = {
    "write_safetensors": [
        ((file(length=">Q"),), "big-endian"),
        ((file(length="<I"),), "takes eight bytes"),
        ((file(extra=8),), "are not JSON"),
        ((file(dtype="float32"),), "expected 'F32'"),
        ((file(shape=lambda s: [s.numel()]),), "The shape of 'weight'"),
        ((file(place=lambda a, b: [a, b - a]),), "[start, number of bytes]"),
        ((file(place=lambda a, b: [a // 4, b // 4]),), "count bytes"),
        ((file(place=lambda a, b: [a + 100, b + 100]),), "end of the header"),
        ((file(tail=b"\0"),), "After the header there are 13 bytes"),
        ((numbers_big_endian,), "little-endian float32"),
        ((lambda tensors: file()({}),), "does not know the tensor 'bias'"),
        ((lambda tensors: "text",), "A file is bytes"),
        ((lambda tensors: b"",), "only 0 bytes"),
    ],
    "fold_before": [
        ((fold(rows=True),), "You scaled the rows"),
        ((fold(lambda g, v, e: g / v.sqrt()),), "eps is missing"),
        ((fold(lambda g, v, e: g / (v.sqrt() + e)),), "under the root"),
        ((fold(lambda g, v, e: g / (v + e)),), "the *root*"),
        ((fold(lambda g, v, e: 1 / (v + e).sqrt()),), "gamma is missing"),
        ((fold(shift=lambda a, b, m: 0 * m),), "must take up what the shift causes"),
        ((fold(shift=lambda a, b, m: b + a * m),), "sign of the mean"),
        ((fold(shift=lambda a, b, m: -a * m),), "beta is missing"),
        ((fold(shift=lambda a, b, m: b - m),), "multiplied by the factor, too"),
        ((fold_with_the_new_weight,), "scale it once only"),
        ((lambda w, b, *rest: w,), "Return two tensors"),
    ],
    "packing": [
        ((lambda q: q + 8, right_unpack), "dtype torch.uint8"),
        ((lambda q: (q + 8).to(torch.uint8), right_unpack), "expected 1 bytes"),
        (
            (lambda q: right_pack(q[: len(q) // 2 * 2]), right_unpack),
            "An odd one is filled up with a zero",
        ),
        ((right_pack, lambda p, n: right_unpack(p, n) + 8), "shifted by 8"),
        ((right_pack, lambda p, n: right_unpack(p, n) % 16), "came back as 8 … 15"),
        (
            (right_pack, lambda p, n: right_unpack(p, n + n % 2).view(-1, 2).flip(1).flatten()[:n]),
            "wrong order",
        ),
        (
            (
                right_pack,
                lambda p, n: torch.cat(
                    [right_unpack(p, n + n % 2)[0::2], right_unpack(p, n + n % 2)[1::2]]
                )[:n],
            ),
            "take turns",
        ),
    ],
    "mended_service": [
        ((chapter["suspicious_service"],), "Two bugs are left"),
        ((chapter["normalised_twice"],), "Light and dark are right"),
        ((service(lambda p: floats(p) / 255),), "Normalised once only"),
        ((service(lambda p: 255 - floats(p)),), "not to 255"),
        ((service(lambda p: 1 - floats(p)),), "white is 255"),
        ((service(lambda p: (1 - p) / np.float32(255)),), "wraps round"),
        ((service(lambda p: 1 - floats(p) / 255, axis=False),), "expected (3, 1, 28, 28)"),
        ((service(lambda p: 1 - p / 255.0),), "expected float32"),
        ((service(lambda p: 1 - floats(p) / 255, first=False),), "Return the logits"),
        ((service(lambda p: torch.from_numpy(1 - floats(p) / 255)),), "takes NumPy arrays"),
        ((lambda session, pictures: np.zeros((len(pictures), 10)),), "never asked"),
    ],
    "best_scale": [
        ((lambda w, bits: w.abs().max() / (2 ** (bits - 1) - 1),), "reaches the largest weight"),
        ((lambda w, bits: w.abs().max(),), "that is the largest value"),
        ((lambda w, bits: 1e-6,), "there is one with"),
        ((lambda w, bits: 0.0,), "a number above 0"),
        ((lambda w, bits: "small",), "Return one number"),
    ],
}


@pytest.mark.parametrize(("name", "answers", "message"), cases(WRONG))
def test_wrong_answers_are_explained(name, answers, message):
    assert_wrong(getattr(check, name)(*answers), message)
