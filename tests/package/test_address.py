"""Pages and notebooks lead to the repository they come from, and to no other."""

import io
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tools import address, book, chapters, colab

ROOT = chapters.ROOT


@pytest.fixture(autouse=True)
def nowhere(monkeypatch) -> None:
    """As if no variable said where the project is."""
    for name in (address.VARIABLE, "GITHUB_REPOSITORY", "GITHUB_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://github.com/ada/course", "https://github.com/ada/course"),
        ("https://github.com/ada/course.git\n", "https://github.com/ada/course"),
        ("https://ada:secret@github.com/ada/my.course/", "https://github.com/ada/my.course"),
        ("git@github.com:ada/course.git", "https://github.com/ada/course"),
        ("ssh://git@git.example.org:2222/a/b/course.git", "https://git.example.org/a/b/course"),
        ("/srv/git/course.git", None),
        ("file:///srv/git/course", None),
        ("../course", None),
        ("C:/Users/ada/course", None),
        ("https://github.com/ada", None),
        ("https://github.com/ada/course/tree/main", None),
        ("", None),
    ],
)
def test_an_address_that_git_knows_becomes_a_page(remote: str, url: str | None) -> None:
    found = address.web(remote)
    assert (found and found.url) == url


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def test_the_variable_then_the_workflow_then_git_decides(tmp_path, monkeypatch) -> None:
    assert address.of(tmp_path) is None, "no repository"
    git(tmp_path, "init", "--quiet")
    assert address.of(tmp_path) is None, "no remote"
    git(tmp_path, "remote", "add", "origin", "git@github.com:ada/fork.git")
    assert address.of(tmp_path) == address.Address("https://github.com/ada/fork")
    monkeypatch.setenv("GITHUB_REPOSITORY", "bob/fork")
    assert address.of(tmp_path) == address.Address("https://github.com/bob/fork")
    monkeypatch.setenv(address.VARIABLE, "https://gitlab.com/eve/course")
    assert address.of(tmp_path) == address.Address("https://gitlab.com/eve/course")
    monkeypatch.setenv(address.VARIABLE, "")
    assert address.of(tmp_path) is None


def test_the_repository_around_a_folder_is_not_its_own(tmp_path) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", "https://github.com/ada/teaching")
    (tmp_path / "course").mkdir()
    assert address.of(tmp_path / "course") is None


def test_without_git_there_is_no_address(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert address.of(tmp_path) is None


def test_a_variable_that_is_no_address_is_an_error(monkeypatch) -> None:
    monkeypatch.setenv(address.VARIABLE, "my course")
    with pytest.raises(ValueError, match=r"MNIST_COURSE_REPOSITORY is 'my course'; expected"):
        address.of(ROOT)


def test_pages_are_published_where_github_publishes_them() -> None:
    assert address.Address("https://github.com/Ada/course").pages == "https://ada.github.io/course/"
    assert address.Address("https://github.com/ada/ada.github.io").pages == "https://ada.github.io/"
    assert address.Address("https://gitlab.com/ada/course").pages == ""


# --- what is built from it ------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Callable[[str], dict]:
    """The configuration of a build, for a project that lives at an address, or nowhere."""
    monkeypatch.setattr(book, "BUILD", tmp_path)

    def of(url: str) -> dict:
        monkeypatch.setenv(address.VARIABLE, url)
        return yaml.safe_load(book.configuration(has_mathjax=True).read_text(encoding="utf-8"))

    return of


def test_the_pages_of_a_fork_lead_to_the_fork(settings) -> None:
    found = settings("https://github.com/ada/fork")
    assert found["repository"] == {"url": "https://github.com/ada/fork", "branch": "main"}
    assert found["html"]["baseurl"] == "https://ada.github.io/fork/"
    assert 'href="https://github.com/ada/fork"' in found["html"]["extra_footer"]
    assert {"binderhub_url", "colab_url"} <= set(found["launch_buttons"])


@pytest.mark.parametrize("url", ["", "https://gitlab.com/ada/fork"])
def test_only_a_project_on_github_offers_colab(settings, url: str) -> None:
    found = settings(url)
    assert "launch_buttons" not in found and "baseurl" not in found["html"]
    assert found["repository"]["url"] == ""
    assert ("The project" in found["html"]["extra_footer"]) == bool(url)


def test_no_file_says_where_the_project_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = re.escape(project["name"])
    files = [path for path in ROOT.iterdir() if path.suffix in {".cff", ".md", ".toml", ".yml"}]
    for folder in (".github", "book", "mnist_course", "notebooks", "tools"):
        files += [path for path in (ROOT / folder).rglob("*.*") if path.is_file()]
    said = re.compile(rf"(?:git(?:hub|lab)\.com|github\.io)[:/][\w/.-]*{name}\b")
    assert [path.name for path in files if said.search(path.read_text("utf-8", "replace"))] == []


# --- the cell for Colab ---------------------------------------------------------------------------


def test_the_cell_for_colab_does_nothing_elsewhere(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    before = sys.path.copy()
    names: dict = {}
    exec(colab.cell().source, names)
    assert set(names) == {"__builtins__", "sys"}
    assert sys.path == before


@pytest.fixture
def on_colab(monkeypatch, tmp_path) -> Callable[[str], list[str]]:
    """Run the cell as on Colab; returns what it asked the shell to do.

    Colab is imitated: a module of its name, and its service that says what was opened.
    """
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    monkeypatch.setattr(sys, "path", ["elsewhere"])
    course = tmp_path / "course"

    def run(opened: str) -> list[str]:
        done: list[str] = []

        def system(line: str) -> None:
            done.append(line)
            course.mkdir()

        shell = SimpleNamespace(
            system=system, run_line_magic=lambda *line: done.append(" ".join(line))
        )
        session = json.dumps([{"path": opened, "name": "04-convolution-by-hand.ipynb"}])
        monkeypatch.setattr("urllib.request.urlopen", lambda _: io.StringIO(session))
        code = colab.cell().source.replace("/content/course", course.as_posix())
        exec(code, {"get_ipython": lambda: shell})
        return done

    run.course = course.as_posix()
    return run


def test_on_colab_it_fetches_the_repository_that_the_notebook_was_opened_from(on_colab) -> None:
    opened = "fileId=https%3A//github.com/ada/my.fork/blob/spring-term/notebooks/04-x.ipynb"
    clone, install = on_colab(opened)
    assert clone == (
        "git clone --quiet --depth 1 --branch spring-term "
        f"https://github.com/ada/my.fork {on_colab.course}"
    )
    assert install.split()[:4] == ["pip", "install", "--quiet", on_colab.course]
    assert sys.path == [on_colab.course, "elsewhere"]


def test_on_colab_a_course_that_is_there_is_not_fetched_again(on_colab) -> None:
    Path(on_colab.course).mkdir()
    opened = "fileId=https%3A//github.com/ada/fork/blob/main/notebooks/04-x.ipynb"
    (install,) = on_colab(opened)
    assert install.startswith("pip install")


def test_on_colab_a_notebook_from_nowhere_fetches_nothing(on_colab, monkeypatch, capsys) -> None:
    assert on_colab("fileId=1vQzqAb") == []
    monkeypatch.setattr(json, "dumps", lambda _: "[]")  # and so where Colab does not say it
    assert on_colab("") == []
    assert sys.path == ["elsewhere"]
    assert "open this chapter from your repository" in capsys.readouterr().out


def test_what_colab_lacks_is_what_the_chapters_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lab = {re.split("[<>=]", each)[0] for each in project["optional-dependencies"]["lab"]}
    assert set(colab.LACKS) <= lab
    assert all(name in colab.CODE for name in colab.LACKS)
