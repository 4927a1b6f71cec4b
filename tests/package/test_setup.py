"""The set-up keeps its promises: tested versions, the same commands and bytes on every system."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests import one_chapter
from tools import browser, chapters
from tools.wheels import PYTHONS, SYSTEMS, needed, pinned, required

ROOT = Path(__file__).resolve().parents[2]
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?::[^\n]*\n)*(.*?)^```", re.DOTALL | re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DESK = ROOT / "tools" / "desk.py"  # the one tool that learners run
TOOLS = [path for path in (ROOT / "tools").glob("*.py") if path != DESK]


def code_of(path: Path) -> str:
    """The code in a module, or in the cells of a chapter."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    return re.sub(r"^[%!].*", "", "\n".join(CELL.findall(text)), flags=re.MULTILINE)


def test_every_requirement_has_a_tested_version() -> None:
    missing = [str(r) for r in required("test") if canonicalize_name(r.name) not in pinned()]
    assert not missing, f"add to constraints.txt: {missing}"


def test_what_is_pinned_is_what_some_system_needs() -> None:
    """If a version is not pinned, pip takes the newest, which is untested."""
    environments = (system.environment(python) for system in SYSTEMS for python in PYTHONS)
    wanted = (needed(environment, "test") for environment in environments)
    assert set().union(*wanted) == pinned().keys()


def imports(code: str) -> set[str]:
    """The top names of the modules that are imported anywhere in ``code``."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("extra", "codes", "apart"),
    [
        ("lab", chapters.sources(), set()),
        ("lab", (ROOT / "mnist_course").rglob("*.py"), set()),
        ("lab", [DESK], set()),
        ("book", TOOLS, {"pip", "playwright", "pypdf"}),
        ("pdf", TOOLS, {"pip"}),  # which is always there
        ("test", (ROOT / "tests").rglob("*.py"), set()),
    ],
    ids=["chapters", "package", "desk", "tools", "pdf", "tests"],
)
def test_an_extra_installs_all_that_its_purpose_imports(extra, codes, apart) -> None:
    """``make lab`` and ``make book`` install no more than their own extra."""
    installed = needed(SYSTEMS[0].environment(PYTHONS[0]), extra)
    packages = packages_distributions()
    own = {"benchmarks", "google", "hub", "mnist_course", "tests", "tools"}  # and Colab's
    wanted = set().union(*map(imports, map(code_of, codes))) - sys.stdlib_module_names - own
    lacking = {
        name
        for name in wanted
        if not {canonicalize_name(each) for each in packages.get(name, ())} & installed
    }
    assert lacking == apart


def test_the_tested_versions_run_on_the_oldest_python_that_is_promised() -> None:
    """Else ``make`` fails there: pip finds no version that fits."""
    tested, oldest = pinned(), PROJECT["requires-python"].removeprefix(">=") + ".0"
    too_new = {
        installed.name: needed
        for installed in distributions()
        if tested.get(canonicalize_name(installed.name)) == installed.version
        and (needed := installed.metadata["Requires-Python"])
        and oldest not in SpecifierSet(needed)
    }
    assert too_new == {}


def test_the_conda_environment_installs_what_pyproject_names() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == PROJECT["name"]
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    assert f">={python.removeprefix('python=')}" == PROJECT["requires-python"]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    extras = re.search(r"\.\[(.*)\]", " ".join(pip))
    assert extras and extras[1] == "lab"  # what the chapters need, and no tool to build or test
    assert "--constraint constraints.txt" in pip
    # The project itself, editable: chapters read the results of benchmarks beside the package.
    assert any(line.startswith("--editable .[") for line in pip)


# --- the same commands, with make and without -----------------------------------------------------

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_command_of_make_can_be_given_without_make() -> None:
    described = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = set(re.findall(r"^\t\$\(PY\) -m (\S+)", MAKEFILE, re.MULTILINE))
    assert modules >= {"pip", "pytest", "tools.book", "tools.chapters", "tools.desk"}
    assert [name for name in sorted(modules) if f"python -m {name}" not in described] == []
    check = re.search(r"^check: .*\n\t\$\(PY\) (.*)", MAKEFILE, re.MULTILINE)[1]
    assert f"`make check` | `python {check}`" in described
    targets = re.search(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE)[1].split()
    assert [t for t in targets if f"`make {t}`" not in described] == []


def test_each_target_installs_an_extra_that_there_is() -> None:
    extras = set(re.findall(r"\$\(VENV\)/\.([a-z]+)\b", MAKEFILE))
    assert extras - {"venv"} == set(PROJECT["optional-dependencies"])


def test_the_readme_names_the_tested_pytorch() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"\b(torch|torchvision)==([\d.]*\d)", text))
    assert named == {name: pinned()[name] for name in ("torch", "torchvision")}


@pytest.mark.parametrize("name", ["04", "convolution", "04-convolution-by-hand"])
def test_a_chapter_is_its_notebook_its_pair_and_its_tests(name: str) -> None:
    assert one_chapter.belonging_to(name) == [
        "notebooks/04-convolution-by-hand.ipynb",
        f"{one_chapter.PAIR}[04-convolution-by-hand]",
        "tests/chapters/test_convolution.py",
        "tests/checks/test_convolution.py",
    ]


def test_the_tests_of_every_chapter_belong_to_one() -> None:
    named = {each for source in chapters.sources() for each in one_chapter.belonging_to(source)}
    files = {
        path for folder in ("chapters", "checks") for path in (ROOT / "tests" / folder).iterdir()
    }
    tests = {path.relative_to(ROOT).as_posix() for path in files if path.name.startswith("test_")}
    pipeline = ("captions", "comparison", "formats", "pairs", "processors")
    machinery = ("machinery", "tables")
    assert tests - named == {
        *(f"tests/chapters/test_{name}.py" for name in pipeline),
        *(f"tests/checks/test_{name}.py" for name in machinery),
    }


# --- the same on every system ---------------------------------------------------------------------

FOLDERS = ("mnist_course", "tools", "tests", "benchmarks", "hub")
CODE = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
OTHER_MODULES = ("Image", "gzip", "os", "tarfile", "webbrowser")  # whose open() is another


def text_without_encoding(code: str) -> list[str]:
    """Calls that read or write a text file and leave its encoding to the system."""
    found = []
    for call in ast.walk(ast.parse(code)):
        if not isinstance(call, ast.Call) or "encoding" in {k.arg for k in call.keywords}:
            continue
        name = getattr(call.func, "attr", getattr(call.func, "id", None))
        owner = getattr(getattr(call.func, "value", None), "id", None)
        modes = {a.value for a in call.args if isinstance(a, ast.Constant)}
        opens = name == "open" and owner not in OTHER_MODULES and not modes & {"rb", "wb", "ab"}
        reads = name == "read_text" and not call.args  # with one it is not a Path's
        if opens or reads or name == "write_text":
            found.append(ast.unparse(call))
    return found


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open('a.txt')", 1),
        ("path.open('w')", 1),
        ("path.read_text()", 1),
        ("(folder / 'a').write_text('ä')", 1),
        ("open('a', 'rb'); path.open('wb'); path.read_bytes(); Image.open(path)", 0),
        ("path.read_text(encoding='utf-8')", 0),
    ],
)
def test_a_missing_encoding_is_found(code: str, found: int) -> None:
    assert len(text_without_encoding(code)) == found


def test_text_files_are_opened_as_utf_8() -> None:
    """Windows would take its code page, and either misread them or fail."""
    codes = {path.name: code_of(path) for path in (*CODE, *chapters.sources())}
    calling = {name: code for name, code in codes.items() if re.search(r"(_text|open)\(", code)}
    found = {
        name: calls for name, code in calling.items() if (calls := text_without_encoding(code))
    }
    assert found == {}


def test_lines_end_alike_on_every_system() -> None:
    tracked()  # skips where there is no Git
    listed = subprocess.run(
        ["git", "ls-files", "--eol"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    assert {kind for kind, *_ in rows} <= {"i/lf", "i/none", "i/-text"}
    assert all("attr/text=auto eol=lf" in rest for *_, rest in rows)


def test_the_code_calls_nothing_that_windows_lacks() -> None:
    """Ruff finds ``os.path`` and its like; here are calls and places of Unix alone."""
    lines = {
        f"{path.name}: {line.strip()}"
        for path in CODE
        if "tests" not in path.relative_to(ROOT).parts  # which skip what a system lacks
        and path.parent.name != "hub"  # which needs systemd
        and "classroom" not in (path.parent.name, path.stem)  # which says that it needs Unix
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"os\.(fork|getuid|uname)\b|[\"']/(tmp|dev|etc|usr)\b", line)
    }
    assert lines == set()


@pytest.mark.parametrize("place", browser.PLACES, ids=lambda place: place.name)
def test_a_browser_is_found_where_a_system_keeps_it(place: Path, monkeypatch) -> None:
    monkeypatch.setattr(browser.shutil, "which", lambda _: None)
    monkeypatch.setattr(browser.Path, "exists", lambda path: path == place)
    assert browser.executable() == str(place)
    monkeypatch.setattr(browser.Path, "exists", lambda _: False)
    assert browser.executable() is None
    monkeypatch.setattr(browser.shutil, "which", lambda name: f"bin/{name}" * (name == "chromium"))
    assert browser.executable() == "bin/chromium"


# --- what is in the repository --------------------------------------------------------------------


def tracked() -> list[Path]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()]


def test_the_repository_is_small_and_holds_no_data() -> None:
    files = tracked()
    assert sum(f.stat().st_size for f in files) <= 30 * 2**20
    data = [f.name for f in files if "ubyte" in f.name or f.suffix in {".gz", ".npz", ".pt"}]
    assert not data


def test_no_file_holds_both_sides_of_a_merge() -> None:
    sides = re.compile(r"^\W*(<{7}|>{7}) [\w/]+:", re.MULTILINE)  # in a notebook's strings as well
    texts = {each: each.read_bytes().decode("utf-8", "replace") for each in tracked()}
    assert sides.search('  "' + "<" * 7 + ' HEAD:book/part.md\\n"')
    assert [each.name for each, text in texts.items() if sides.search(text)] == []


def test_no_file_names_a_path_of_one_machine() -> None:
    found = []
    for file in tracked():
        if file.suffix in {".md", ".py", ".ipynb", ".js", ".mjs", ".yml", ".toml", ".txt", ".json"}:
            text = file.read_text(encoding="utf-8")
            # Built from parts, so that this file does not find itself.
            for pattern in ("/" + "root/", "/" + "work/", "/home/" + r"\w+/"):
                if re.search(rf"(?<![\w.]){pattern}", text):
                    found.append(f"{file.relative_to(ROOT)}: {pattern}")
    assert not found


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--quiet"],
        ["ruff", "format", "--check", "--quiet"],
        ["mypy"],
        ["codespell_lib"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_style(command: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
