"""Where this copy of the project lives on the web, if anywhere: no file of it says so.

The first of these that is there decides:

1. the environment variable ``MNIST_COURSE_REPOSITORY``: an address, or nothing for "nowhere";
2. ``GITHUB_REPOSITORY``, which a workflow on GitHub sets;
3. the remote ``origin`` of the git repository.

So a fork's pages lead to the fork, and pages that are built from a downloaded folder lead nowhere.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "MNIST_COURSE_REPOSITORY"
# https://user:secret@host/owner/name.git, ssh://git@host:22/owner/name, git@host:owner/name.git
_WEB = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^@/]*@)?(?P<host>[\w.-]+\.\w+)(?::\d+)?/"
    r"|(?:[\w.-]+@)(?P<scp>[\w.-]+\.\w+):(?!//))"
    r"(?P<path>[\w.~-]+(?:/[\w.~-]+)+)"
)


@dataclass(frozen=True)
class Address:
    """The page of a repository.

    Attributes:
        url: ``https://github.com/owner/name``, without names or passwords of people.
    """

    url: str

    @property
    def name(self) -> str:
        """The name of the repository, and of the folder that ``git clone`` makes."""
        return self.url.rsplit("/", 1)[1]

    @property
    def is_on_github(self) -> bool:
        """Whether Colab can open notebooks from there."""
        return self.url.startswith("https://github.com/")

    @property
    def pages(self) -> str:
        """Where the workflow publishes the pages; empty if the repository is not on GitHub."""
        if not self.is_on_github:
            return ""
        owner, name = self.url.removeprefix("https://github.com/").split("/")
        site = f"{owner.lower()}.github.io"
        return f"https://{site}/" if name.lower() == site else f"https://{site}/{name}/"


def web(remote: str) -> Address | None:
    """The page behind an address that git knows; None for a folder or a file of this machine."""
    found = _WEB.fullmatch(remote.strip().removesuffix("/").removesuffix(".git"))
    if not found:
        return None
    host = found["host"] or found["scp"]
    if host == "github.com" and found["path"].count("/") != 1:
        return None
    return Address(f"https://{host}/{found['path']}")


def of(root: Path) -> Address | None:
    """The address of the copy of the project in ``root``; None if it has none.

    Raises:
        ValueError: if ``MNIST_COURSE_REPOSITORY`` is set, and is no address on the web.
    """
    if (given := os.environ.get(VARIABLE)) is not None:
        if given and not web(given):
            example = "https://github.com/owner/name"
            raise ValueError(
                f"{VARIABLE} is {given!r}; expected an address like {example}, or nothing"
            )
        return web(given)
    if name := os.environ.get("GITHUB_REPOSITORY"):
        server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
        return web(f"{server}/{name}")
    if _git(root, "rev-parse", "--show-cdup"):  # another project's repository contains this folder
        return None
    return web(_git(root, "remote", "get-url", "origin"))


def _git(root: Path, *arguments: str) -> str:
    """What git answers; nothing if there is no git, or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, encoding="utf-8"
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
