"""The hub for a class, as far as it shows without JupyterHub: its values, and what it starts.

Where JupyterHub is installed, its own classes also say whether every setting exists.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from traitlets.config import Config

from hub import book, learner
from mnist_course.desk import HOOK
from tools import desk

CONFIG = Path(learner.__file__).with_name("jupyterhub_config.py")


@pytest.fixture
def configured(tmp_path: Path, monkeypatch) -> Callable[[str], Config]:
    """What the hub is told for a class of that many."""
    names = tmp_path / "learners.txt"
    names.write_text("ada\nblaise\n\ngrace\n", encoding="utf-8")
    monkeypatch.setenv("LEARNERS_FILE", str(names))
    monkeypatch.setenv("MNIST_COURSE_DATA", "/srv/digits")

    def load(learners: str) -> Config:
        monkeypatch.setenv("LEARNERS", learners)
        config = Config()
        code = compile(CONFIG.read_text(encoding="utf-8"), str(CONFIG), "exec")
        exec(code, {"get_config": lambda: config, "__file__": str(CONFIG), "__name__": "config"})
        return config

    return load


def in_bytes(text: str) -> int:
    return int(text.removesuffix("G")) * 2**30


@pytest.mark.parametrize("learners", [20, 200])
def test_each_learner_has_limits_a_desk_and_a_list_to_be_on(configured, learners: int) -> None:
    config = configured(str(learners))
    assert config.Authenticator.allowed_users == {"ada", "blaise", "grace"}
    assert 1.5 * 2**30 <= in_bytes(config.Spawner.mem_limit) <= 4 * 2**30
    assert 1 <= config.Spawner.cpu_limit <= 2
    assert config.JupyterHub.active_server_limit == learners
    assert config.JupyterHub.concurrent_spawn_limit < learners
    assert config.Spawner.environment["OMP_NUM_THREADS"] == "1"
    assert config.Spawner.environment["MNIST_COURSE_DATA"] == "/srv/digits"
    assert config.Spawner.notebook_dir == "~/desk"
    assert config.Spawner.default_url.endswith(f"/{desk.START}")
    assert set(config.SystemdSpawner.readonly_paths) == {str(learner.ROOT), "/srv/digits"}


def test_a_larger_class_gets_less_each_and_is_closed_sooner(configured) -> None:
    small, large = configured("20"), configured("200")
    assert in_bytes(large.Spawner.mem_limit) < in_bytes(small.Spawner.mem_limit)
    assert large.Spawner.cpu_limit < small.Spawner.cpu_limit
    idle = [
        int(service["command"][-2].removeprefix("--timeout="))
        for config in (small, large)
        for service in config.JupyterHub.services
        if service["name"] == "idle"
    ]
    assert idle[0] > idle[1] >= 1800


def test_what_the_hub_starts_is_there(configured) -> None:
    config = configured("20")
    commands = [config.Spawner.cmd, *(each["command"] for each in config.JupyterHub.services)]
    scripts = [command[1] for command in commands if command[1] != "-m"]
    assert [Path(script).name for script in scripts] == ["learner.py", "book.py"]
    assert all(Path(script).is_file() and command[0] == sys.executable
               for script, command in zip(scripts, commands, strict=False))  # fmt: skip
    named = {role["services"][0] for role in config.JupyterHub.load_roles if "services" in role}
    assert named <= {service["name"] for service in config.JupyterHub.services}


@pytest.mark.parametrize("learners", ["30", "0"])
def test_another_size_is_refused(configured, learners: str) -> None:
    with pytest.raises(SystemExit, match="20, 200"):
        configured(learners)


def test_without_the_digits_the_hub_does_not_start(configured, monkeypatch) -> None:
    monkeypatch.setenv("MNIST_COURSE_DATA", "")
    with pytest.raises(SystemExit, match="MNIST_COURSE_DATA"):
        configured("20")


def test_every_setting_is_one_that_jupyterhub_has(configured) -> None:
    hub = pytest.importorskip("jupyterhub.app", reason="JupyterHub is not installed")
    auth, spawner = (pytest.importorskip(f"jupyterhub.{name}") for name in ("auth", "spawner"))
    systemd = pytest.importorskip("systemdspawner")
    classes = (
        *(hub.JupyterHub, auth.Authenticator, auth.LocalAuthenticator),
        *(spawner.Spawner, systemd.SystemdSpawner),
    )
    known = {each.__name__: set(each.class_trait_names(config=True)) for each in classes}
    for name, settings in configured("20").items():
        assert set(settings) <= known[name], name


# --- what a learner gets --------------------------------------------------------------------------

SINGLE = """#!{python}
import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ["JUPYTER_CONFIG_PATH"]]))
"""


@pytest.mark.skipif(os.name == "nt", reason="a hub needs Unix")
def test_a_learner_gets_a_desk_and_then_the_server_with_the_hubs_arguments(tmp_path: Path) -> None:
    """With a server that only says how it was called."""
    home, programs = tmp_path / "home", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    (programs / "jupyterhub-singleuser").write_text(
        SINGLE.format(python=sys.executable), encoding="utf-8"
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    code = (
        "import sys; from hub import learner; "
        f"sys.executable = {str(programs / 'python')!r}; learner.main(['--port=1', 'x y'])"
    )
    environment = os.environ | {"HOME": str(home), "PYTHONPATH": str(learner.ROOT)}
    environment.pop("JUPYTER_CONFIG_PATH", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    arguments, _, settings = json.loads(done.stdout.splitlines()[-1])
    assert arguments == [HOOK, "--port=1", "x y"]
    assert (Path(settings) / "labconfig" / "page_config.json").is_file()
    assert (home / "desk" / desk.START).is_file()
    assert len(list((home / "desk").glob("[0-9][0-9]-*.ipynb"))) > 20


# --- the book -------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "index.html").write_text("<h1>Book</h1>", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    with book.server(str(tmp_path), "http://127.0.0.1:0", "/services/book/") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def status(url: str, **asked: Any) -> int:
    try:
        return urlopen(url, **asked).status
    except HTTPError as error:
        return error.code


def test_the_book_is_read_below_the_path_of_the_hub_and_not_written(site: str) -> None:
    there = f"{site}/services/book/book/index.html"
    assert urlopen(f"{there}?x=1").read() == b"<h1>Book</h1>"
    assert status(there, data=b"new") == 501
    assert status(f"{site}/book/index.html") == 404
    assert status(f"{site}/services/book/../../etc/passwd") == 404
    assert status(f"{site}/services/book/%2e%2e/%2e%2e/etc/passwd") == 404
    assert status(f"{site}/services/book/a%00b") in (400, 404)
    assert status(f"{site}/services/book/empty/") == 404
