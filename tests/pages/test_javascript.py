"""The JavaScript is formatted, and its types fit; and the tool finds where that is not so."""

import shutil
from pathlib import Path

import pytest

from tools import javascript


@pytest.fixture(scope="module")
def packages() -> dict[str, Path]:
    if shutil.which("node") is None:
        pytest.skip("no Node.js on this machine")
    packages = javascript.fetch()
    if packages is None:
        pytest.skip("Prettier and TypeScript could not be had from npm")
    return packages


def test_it_is_formatted_and_its_types_fit(packages) -> None:
    assert javascript.problems(packages) == ""


def test_what_is_not_formatted_and_what_does_not_fit_is_said_and_formatted(
    packages, tmp_path
) -> None:
    module = tmp_path / "module.js"
    module.write_text(
        "/** @param {number} n */\nexport const twice = n=>2*n\ntwice('a')\n", encoding="utf-8"
    )
    said = javascript.problems(packages, [tmp_path])
    assert "module.js" in said and "Code style issues" in said
    assert "not assignable to parameter of type 'number'" in said
    said = javascript.problems(packages, [tmp_path], fix=True)
    assert module.read_text(encoding="utf-8").endswith(
        'export const twice = (n) => 2 * n;\ntwice("a");\n'
    )
    assert "Code style issues" not in said and "not assignable" in said


def test_without_npm_nothing_is_checked_and_a_line_says_so(monkeypatch, capsys) -> None:
    monkeypatch.setattr(javascript.npm, "fetch", lambda *_: None)
    assert javascript.main([]) == 0
    assert "JavaScript was not checked" in capsys.readouterr().out


def test_what_is_found_is_printed_and_the_command_fails(monkeypatch, capsys) -> None:
    monkeypatch.setattr(javascript, "fetch", lambda: {"prettier": Path()})
    monkeypatch.setattr(javascript, "problems", lambda *_, fix: f"wrong, fix={fix}\n")
    assert javascript.main(["--fix"]) == 1
    assert capsys.readouterr().out == "wrong, fix=True\n"
