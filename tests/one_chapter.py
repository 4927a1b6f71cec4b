"""A pytest plugin: ``--chapter 04`` or ``--chapter convolution`` runs what belongs to one chapter.

That is its pair of text and notebook, the tests of its definitions and of its checks, and with
``--nbval`` the notebook itself.
"""

from pathlib import Path

import pytest

from tools import chapters

PAIR = "tests/chapters/test_pairs.py::test_the_notebook_is_what_the_text_says"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--chapter", metavar="NN", help="run only what belongs to this chapter: number or word"
    )


def belonging_to(name: str) -> list[str]:
    """What to collect for a chapter; paths count from the root of the project."""
    (source,) = chapters.sources([name])
    tests = [f"tests/{folder}/test_{chapters.word(source)}.py" for folder in ("chapters", "checks")]
    present = [test for test in tests if (chapters.ROOT / test).exists()]
    return [f"notebooks/{source.stem}.ipynb", f"{PAIR}[{source.stem}]", *present]


def pytest_configure(config: pytest.Config) -> None:
    if name := config.option.chapter:
        try:
            config.args = [str(Path(config.rootpath, each)) for each in belonging_to(name)]
        except SystemExit as error:
            raise pytest.UsageError(str(error)) from error
