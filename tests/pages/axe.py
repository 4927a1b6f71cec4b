"""axe-core, which checks accessibility: fetched from npm when needed, into ``build/cache``."""

from collections.abc import Sequence
from functools import cache

import pytest

from tools import book, npm

VERSION = "4.14.1"
CHECK = """async ([only, but]) => {
  const found = await axe.run(document, {
    resultTypes: ["violations"], preload: false,
    ...(only.length ? { runOnly: { type: "rule", values: only } }
      : { rules: Object.fromEntries(but.map((rule) => [rule, { enabled: false }])) }),
  });
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) =>
    ({ id, html: html.slice(0, 200), why: failureSummary })));
}"""


@cache
def script() -> str | None:
    """The script of axe-core; None where it cannot be had."""
    folder = npm.fetch("axe-core", VERSION, book.BUILD / "cache")
    return (folder / "axe.min.js").read_text(encoding="utf-8") if folder else None


def needed() -> None:
    """Skip the test that calls this where axe-core cannot be had."""
    if not script():
        pytest.skip("axe-core could not be had from npm")


def violations(page, only: Sequence[str] = (), but: Sequence[str] = ()) -> list[dict[str, str]]:
    """What axe finds wrong on an open page, by all rules, ``only`` some, or all ``but`` some.

    Each has the rule (``id``), the element (``html``, cut short) and what to do (``why``).
    """
    if not page.evaluate("globalThis.axe !== undefined"):
        page.evaluate(script())
    return page.evaluate(CHECK, [list(only), list(but)])
