"""The checks of rates and schedules: answers in other styles, and mistakes beyond the tables'."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from mnist_course.checks import rates as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong, judged, of_the_chapter

chapter = definitions("rates")
NAMES = {"one_cycle": "one_cycle", "best_rate": "best_rate", "scheduled": "epoch"}
test_the_chapter = of_the_chapter(check, chapter, NAMES)


def test_the_loop_to_mend_is_refused() -> None:
    assert_wrong(check.scheduled(chapter["suspicious_epoch"]), "Step the optimiser first")


def cycle(step, steps, peak, warmup, middle=0.5):
    p = (step + middle) / steps
    rise = p / warmup if warmup else 1
    fall = math.cos(math.pi / 2 * max(0, p - warmup) / (1 - warmup)) ** 2
    return torch.tensor(peak * min(rise, fall if p >= warmup else 1))


def by_numpy(rates, scores):
    best = rates[int(np.nanargmax(scores))]
    return float(best) if min(rates) < best < max(rates) else 0.0


def epoch(lines, read="lr", after=False):
    """An epoch with these lines (z, b, o for the optimiser, s for the scheduler) a batch."""

    def answer(network, optimizer, scheduler, batches):
        used = []
        for x, y in batches:
            loss = F.cross_entropy(network(x), y)
            actions = {"z": optimizer.zero_grad, "b": loss.backward, "s": scheduler.step}
            for line in lines:
                if line == "o":
                    used.append(optimizer.param_groups[0][read])
                    optimizer.step()
                else:
                    actions[line]()
        if after:
            scheduler.step()
        return used

    return answer


RIGHT = {
    "one_cycle": [cycle],
    "best_rate": [by_numpy],
    "scheduled": [epoch("zbos"), epoch("bosz")],
}
WRONG = {
    "one_cycle": [
        (lambda *given: cycle(*given, middle=0), "first rate is zero"),
        (lambda step, n, peak, w: peak * (step + 0.5) / n / w, "is 1.4, expected 0.956773"),
        (lambda *given: cycle(*given) + 0 / given[3], "`warmup` may be 0"),
    ],
    "best_rate": [
        (lambda rates, scores: max(zip(scores, rates, strict=True))[1], "lies at the edge"),
        (lambda rates, scores: sorted(rates)[1], "the number is 0.03, expected 0"),
    ],
    "scheduled": [
        (epoch("zbso"), "the first rate is never used"),
        (epoch("zbo"), "never stepped, or only after the epoch"),
        (epoch("zbo", after=True), "never stepped, or only after the epoch"),
        (epoch("zboss"), "once for each batch, after the optimiser"),
        (epoch("zbosos"), "stepped 8 times"),
        (epoch("zos"), "The weights have not changed"),
        (epoch("zbos", read="initial_lr"), "the list of rates that you return"),
        (lambda *given: epoch("zbos")(*given)[:2], "the list of rates that you return"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
