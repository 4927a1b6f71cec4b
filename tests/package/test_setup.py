"""The set-up keeps its promises: one list of requirements, tested versions, no stray files."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("_", "-")


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name_of(name): version for name, version in pairs}


def requirements() -> list[str]:
    extras = PROJECT["optional-dependencies"]
    return PROJECT["dependencies"] + [r for extra in extras.values() for r in extra]


def test_every_requirement_has_a_tested_version() -> None:
    missing = [r for r in requirements() if name_of(r) not in pinned()]
    assert not missing, f"add to constraints.txt: {missing}"


def test_the_tested_versions_run_on_the_oldest_python_that_is_promised() -> None:
    """Else ``make`` fails there: pip finds no version that fits."""
    tested, oldest = pinned(), PROJECT["requires-python"].removeprefix(">=") + ".0"
    too_new = {
        installed.name: needed
        for installed in distributions()
        if tested.get(name_of(installed.name)) == installed.version
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
    assert extras and set(extras[1].split(",")) == set(PROJECT["optional-dependencies"])
    assert "--constraint constraints.txt" in pip
    # The project itself, editable: chapters read the results of benchmarks beside the package.
    assert any(line.startswith("--editable .[") for line in pip)


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
