"""Does every pinned version have a wheel for each system and Python that the course promises?

    python -m tools.wheels

Through pip, it asks pip's index about the versions in ``constraints.txt`` that are not one file for
all systems. It downloads no wheels, prints a line for each gap, and fails if there is one.
"""

from __future__ import annotations

import functools
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging import tags
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
GLIBC = 35  # wheels may ask for up to 2.35, which Ubuntu 22.04 and Debian 12 have


@dataclass(frozen=True)
class System:
    """A system as pip names it in wheels, and as it names itself in markers of requirements."""

    name: str
    platforms: tuple[str, ...]
    markers: tuple[str, str, str, str]  # sys_platform, platform_system, platform_machine, os_name

    def environment(self, python: str) -> dict[str, str]:
        """What the markers of a requirement are evaluated with."""
        names = ("sys_platform", "platform_system", "platform_machine", "os_name")
        return dict(zip(names, self.markers, strict=True)) | {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }

    def tags(self, python: str) -> frozenset[Tag]:
        """The tags of the wheels that run here."""
        version = [int(part) for part in python.split(".")]
        interpreter = f"cp{version[0]}{version[1]}"
        own = tags.cpython_tags(version, platforms=self.platforms)
        return frozenset(own) | set(tags.compatible_tags(version, interpreter, self.platforms))


def _linux(machine: str) -> System:
    kinds = [f"manylinux_2_{minor}" for minor in range(GLIBC, 4, -1)]
    kinds += ["manylinux2014", "manylinux2010", "manylinux1", "linux"]
    platforms = tuple(f"{kind}_{machine}" for kind in kinds)
    return System(f"Linux {machine}", platforms, ("linux", "Linux", machine, "posix"))


SYSTEMS = (
    _linux("x86_64"),
    _linux("aarch64"),
    System("Windows x86_64", ("win_amd64",), ("win32", "Windows", "AMD64", "nt")),
    System(
        "macOS arm64",
        tuple(tags.mac_platforms((14, 0), "arm64")),
        ("darwin", "Darwin", "arm64", "posix"),
    ),
)


def pinned() -> dict[str, str]:
    """The versions in ``constraints.txt``, by the normalised names of the packages."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): version for name, version in pairs}


def required(*extras: str) -> list[Requirement]:
    """What ``pyproject.toml`` names, for the package and for these extras of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [text for extra in extras for text in project["optional-dependencies"][extra]]
    found = [Requirement(text) for text in project["dependencies"] + texts]
    inner = [extra for each in found if each.name == project["name"] for extra in each.extras]
    own = [requirement for requirement in found if requirement.name != project["name"]]
    return own + (required(*inner) if inner else [])


@functools.cache
def _requirements_of(name: str) -> list[Requirement]:
    try:
        return [Requirement(text) for text in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError:  # only another system needs it
        return []


def needed(environment: dict[str, str], *extras: str) -> set[str]:
    """The normalised names of all packages that the course and its extras need there.

    What a package requires is read from the one installed here. One that only another system needs
    is named, and not looked into.
    """
    todo, seen = required(*extras), set()
    while todo:
        package = todo.pop()
        asked = canonicalize_name(package.name), frozenset(package.extras)
        if asked in seen:
            continue
        seen.add(asked)
        situations = [environment | {"extra": extra} for extra in ("", *package.extras)]
        todo += [
            requirement
            for requirement in _requirements_of(package.name)
            if not requirement.marker or any(map(requirement.marker.evaluate, situations))
        ]
    return {name for name, _ in seen}


def is_universal(name: str, version: str) -> bool:
    """Whether the installed package came in one wheel that fits all systems and Pythons."""
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    fits = re.findall(r"^Tag: (.*)$", package.read_text("WHEEL") or "", re.MULTILINE)
    pythons = SpecifierSet(package.metadata["Requires-Python"] or "")
    return (
        package.version == version
        and "py3-none-any" in fits
        and all(f"{p}.0" in pythons for p in PYTHONS)
    )


@functools.cache
def wheels(name: str, version: str) -> list[tuple[frozenset[Tag], SpecifierSet]]:
    """The wheels of a version that pip finds in the index: their tags and their Pythons."""
    from pip._internal.commands import create_command
    from pip._internal.index.collector import LinkCollector, parse_links
    from pip._internal.models.link import Link

    command = create_command("index")  # has the index and certificates that pip is set to
    options, _ = command.parser.parse_args(["versions"])
    collector = LinkCollector.create(command._build_session(options), options)
    addresses = collector.search_scope.get_index_urls_locations(name)
    pages = [collector.fetch_response(Link(address)) for address in addresses]
    return [
        (parse_wheel_filename(link.filename)[-1], SpecifierSet(link.requires_python or ""))
        for page in pages
        if page
        for link in parse_links(page)
        if link.is_wheel and f"-{version}-" in link.filename
    ]


def has_wheel(name: str, version: str, system: System, python: str) -> bool:
    """Whether there is a wheel of this version for this system and Python."""
    supported = system.tags(python)
    found = wheels(name, version)
    return any(fits & supported and f"{python}.0" in pythons for fits, pythons in found)


def gaps() -> Iterator[str]:
    """A line for each package and system where a wheel of the pinned version is missing."""
    versions = pinned()
    wanted = {(s, p): needed(s.environment(p), "test") for s in SYSTEMS for p in PYTHONS}
    for name in sorted(set().union(*wanted.values())):
        version = versions.get(name)
        if version and is_universal(name, version):
            continue
        for system in SYSTEMS:
            pythons = [p for p in PYTHONS if name in wanted[system, p]]
            if version:
                pythons = [p for p in pythons if not has_wheel(name, version, system, p)]
            if pythons:
                row = (name, version or "not pinned", system.name, ", ".join(pythons))
                yield "{:24} {:14} {:16} {}".format(*row)


if __name__ == "__main__":
    found = list(gaps())
    places = ", ".join(system.name for system in SYSTEMS)
    print("\n".join(["No wheel of the pinned version:", *found]) if found else "No gaps.")
    print(f"{len(pinned())} pinned versions; Python {PYTHONS[0]} to {PYTHONS[-1]}; {places}")
    sys.exit(bool(found))
