"""The checks of chapter 27 accept right answers and name mistakes beyond those of their tables."""

import json
import struct

import numpy as np
import safetensors.torch
import torch

from mnist_course.checks import export as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("export")
NAMES = {
    "write_safetensors": "safetensors",
    "fold_before": "fold_before",
    "packing": "pack unpack",
    "mended_service": "service",
    "best_scale": "scale",
}
fold, pack, unpack, scale = (
    chapter[f"solution_{name}"] for name in ("fold_before", "pack", "unpack", "scale")
)
test_the_chapter = of_the_chapter(check, chapter, NAMES)


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
    content = file()(tensors)
    start = 8 + int.from_bytes(content[:8], "little")
    return content[:start] + np.frombuffer(content[start:], "<f4").astype(">f4").tobytes()


def fold_by_asking(w, b, gamma, beta, mean, variance, eps):
    """The bias is the answer to zeros, and each column that to a single one."""

    def both(x):
        return w @ ((x - mean) / torch.sqrt(variance + eps) * gamma + beta) + b

    bias = both(torch.zeros(w.shape[1]))
    return torch.stack([both(row) - bias for row in torch.eye(w.shape[1])], dim=1), bias


def fold_twice(w, b, gamma, beta, mean, variance, eps):
    w = w * (gamma / (variance + eps).sqrt())
    return w, b + w @ (beta - mean)


def pack_signed(q):
    """Two's complement in four bits each, the first number above."""
    pairs = torch.cat([q, q[:0] if len(q) % 2 == 0 else q.new_zeros(1)]).view(-1, 2).int() & 15
    return (pairs[:, 0] * 16 | pairs[:, 1]).to(torch.uint8)


def unpack_signed(packed, count):
    parts = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:count].to(torch.int8)
    return torch.where(parts > 7, parts - 16, parts)


def pack_without_8(q):
    low, high = torch.nn.functional.pad(q, (0, len(q) % 2)).to(torch.uint8).view(-1, 2).T
    return low + 16 * high


def unpack_modulo(packed, count):
    """The right way back from four bits each, the first number below."""
    parts = (unpack(packed, count) + 8).int()
    return torch.where(parts > 7, parts - 16, parts).to(torch.int8)


def both(packed, count):
    return unpack(packed, count + count % 2)


def scale_by(fractions):
    def step(w, bits):
        top = 2 ** (bits - 1) - 1
        steps = [float(f * w.abs().max() / top) for f in fractions]
        errors = [((w - (w / s).round().clip(-top, top) * s) ** 2).sum() for s in steps]
        return steps[int(torch.tensor(errors).argmin())]

    return step


def service(prepare, axis=True, first=True):
    """A web service that prepares bytes in some way."""

    def logits(session, pictures):
        pixels = prepare(pictures)
        answer = session.run(None, {"pixels": pixels[:, None] if axis else pixels})
        return answer[0] if first else answer

    return logits


def floats(pictures):
    return pictures.astype(np.float32)


def one_by_one(session, pictures):
    names = session.get_inputs()[0].name, [session.get_outputs()[0].name]
    pixels = torch.from_numpy(255 - pictures).float().div(255)[:, None, None].numpy()
    return np.concatenate([session.run(names[1], {names[0]: picture})[0] for picture in pixels])


RIGHT = {
    "write_safetensors": [file(), lambda tensors: bytearray(file()(tensors))],
    "fold_before": [fold_by_asking, lambda *a: list(fold(*a))],
    "packing": [(pack_signed, unpack_signed)],
    "mended_service": [one_by_one, service(lambda p: (255 - p) / np.float32(255))],
    "best_scale": [
        scale_by(np.linspace(0.02, 1, 99)), scale_by(np.geomspace(0.02, 1, 100)),
        lambda w, bits: torch.tensor(scale_by(torch.linspace(0.1, 1, 100))(w, bits)),
    ],
}  # fmt: skip

WRONG = {
    "write_safetensors": [
        (file(length=">Q"), "big-endian"),
        (file(length="<I"), "takes eight bytes"),
        (file(extra=8), "are no JSON"),
        (file(dtype="float32"), "F32"),
        (file(shape=lambda s: [s.numel()]), "has shape (6,), expected (2, 3)"),
        (file(place=lambda a, b: [a, b - a]), 'data_offsets": [begin, end]'),
        (file(place=lambda a, b: [a // 4, b // 4]), "count bytes"),
        (file(place=lambda a, b: [a + 100, b + 100]), "begin at 0 after the header"),
        (file(tail=b"\0"), "refuses the file"),
        (numbers_big_endian, "numbers are not"),
        (lambda tensors: file()(dict([*tensors.items()][:1])), "expected ['b', 'w']"),
        (lambda tensors: "text", "expected bytes, got str"),
        (lambda tensors: b"", "does the file begin with the length, in 8 bytes?"),
        (safetensors.torch.save, "write its bytes yourself"),
    ],
    "fold_before": [
        (fold_twice, "result 2, the shape is right"),
        (lambda w, b, *rest: w, "return 2 things, got Tensor"),
        (lambda *a: [part.numpy() for part in fold(*a)], "asks for a tensor"),
        (lambda *a: [part[None] for part in fold(*a)], "result 1, the result has shape"),
        (lambda *a: (fold(*a)[0], fold(*a)[1].nan_to_num(nan=0) / 0), "nan or infinity"),
        (lambda w, *a: fold(w.mul_(2) / 2, *a), "changes `w` in place"),
        (lambda *a: fold(*a[:-1], 1e-5), "numbers are not"),
        (lambda *a: tuple(part.float() for part in fold(*a)), "float64 became float32"),
    ],
    "packing": [
        ((lambda q: q + 8, unpack), "dtype torch.uint8"),
        ((lambda q: (q + 8).to(torch.uint8), unpack), "expected 1 bytes"),
        ((lambda q: pack(q[: len(q) // 2 * 2]), unpack), "together with a zero: append one first"),
        ((lambda q: (q + 8).byte().view(-1, 2) @ torch.tensor([1, 16]).byte(), unpack), "append"),
        ((pack, lambda p, n: unpack(p, n) + 8), "shifted by 8"),
        ((pack, lambda p, n: unpack(p, n) % 16), "came back as 8 … 15"),
        ((pack_signed, lambda p, n: unpack_signed(p, n) % 16), "came back as 8 … 15"),
        ((pack_without_8, unpack), "shifted by 8"),
        ((pack_without_8, unpack_modulo), "borrows"),
        ((pack, lambda p, n: both(p, n).view(-1, 2).flip(1).flatten()[:n]), "wrong order"),
        ((pack, lambda p, n: both(p, n).view(-1, 2).T.flatten()[:n]), "take turns"),
        ((pack, lambda p, n: unpack(p, n).float()), "asks for torch.int8"),
        ((pack, lambda p, n: unpack(p, n).tolist()), "asks for a tensor"),
        ((pack, lambda p, n: both(p, n)), "has shape (8,), expected (7,)"),
        ((lambda q: pack(q.clamp(-7, 7)), unpack), "numbers are not"),
        ((lambda q: pack(q.add_(8) - 8), unpack), "changes `q` in place"),
    ],
    "mended_service": [
        (chapter["suspicious_service"], "Two bugs are left"),
        (chapter["normalised_twice"], "Light and dark are right"),
        (service(lambda p: floats(p) / 255), "Normalised once only"),
        (service(lambda p: 255 - floats(p)), "not to 255"),
        (service(lambda p: 1 - floats(p)), "white is 255"),
        (service(lambda p: (1 - p) / np.float32(255)), "wraps round"),
        (service(lambda p: 1 - floats(p) / p.max()), "numbers are not"),
        (service(lambda p: 1 - floats(p).transpose(0, 2, 1) / 255), "numbers are not"),
        (service(lambda p: 1 - floats(p) / 255, axis=False), "expected (3, 1, 28, 28)"),
        (service(lambda p: 1 - p / 255.0), "expected float32"),
        (service(lambda p: 1 - floats(p) / 255, first=False), "Return the logits"),
        (service(lambda p: torch.from_numpy(1 - floats(p) / 255)), "takes NumPy arrays"),
        (lambda s, p: chapter["solution_service"](s, p)[::-1], "the logits: the shape is right"),
        (lambda s, p: chapter["solution_service"](s, p).argmax(1), "Return the logits"),
        (lambda session, pictures: np.zeros((len(pictures), 10)), "never asked"),
    ],
    "best_scale": [
        (lambda w, bits: w.abs().max() / (2 ** (bits - 1) - 1), "reaches the largest weight"),
        (lambda w, bits: w.abs().max(), "that is the largest value"),
        (scale_by(np.arange(1, 11) / 10), "there is one with"),
        (lambda w, bits: scale(w, 4), "For 8 bits your step"),
        (lambda w, bits: scale(w.abs().sort().values[:-50], bits), "there is one with"),
        (lambda w, bits: -scale(w, bits), "expected one above 0"),
        (lambda w, bits: float("nan"), "a finite number, got nan"),
        (lambda w, bits: "small", "The step: I expected one number, got str"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
