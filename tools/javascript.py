"""Check the JavaScript of the pad, the figures and their tests, or format it.

    python -m tools.javascript          # says what is not formatted, and which types do not fit
    python -m tools.javascript --fix    # formats, then checks the types

Prettier formats (``.prettierrc.json``). TypeScript's compiler checks the types that JSDoc comments
give (``tsconfig.json``); it writes nothing. Both are fetched from npm once, into ``build/cache``.
Without Node.js, or without the network the first time, nothing is checked, and a line says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import npm

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
PACKAGES = {
    "prettier": "3.10.1",
    "typescript": "6.0.3",  # from 7 on it is a program for each kind of machine
    "@types/node": "20.19.43",  # of the oldest Node.js that runs the tests
}
FOLDERS = (ROOT / "mnist_course" / "static", ROOT / "tests" / "pages" / "js")


def fetch(cache: Path = BUILD / "cache") -> dict[str, Path] | None:
    """The folder of each package; None if one of them, or Node.js, is missing."""
    found = {name: npm.fetch(name, version, cache) for name, version in PACKAGES.items()}
    folders = {name: folder for name, folder in found.items() if folder}
    return folders if len(folders) == len(found) else None


def problems(
    packages: dict[str, Path], folders: Sequence[Path] = FOLDERS, *, fix: bool = False
) -> str:
    """What the formatter and the compiler say is wrong; empty where nothing is.

    Args:
        packages: what :func:`fetch` returned.
        folders: whose files are checked.
        fix: write the files as the formatter has them.
    """
    prettier = [
        *(str(packages["prettier"] / "bin" / "prettier.cjs"), "--log-level=warn"),
        *("--config", str(ROOT / ".prettierrc.json"), "--write" if fix else "--check"),
        *map(str, folders),
    ]
    # A name is looked up beside the others of its kind: the types of Node.js have a folder there.
    types = packages["@types/node"]
    project = {
        "extends": str(ROOT / "tsconfig.json"),
        "compilerOptions": {
            "typeRoots": [str(types.parent)],
            "types": [types.name],
        },
        "include": [str(folder) for folder in folders],
    }
    path = BUILD / "tsconfig.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(project), encoding="utf-8")
    compiler = [str(packages["typescript"] / "bin" / "tsc"), "--project", str(path)]
    return _said(prettier) + _said(compiler)


def _said(command: list[str]) -> str:
    """What a Node.js program prints when it finds something wrong."""
    done = subprocess.run(["node", *command], cwd=ROOT, capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.javascript", description=__doc__)
    parser.add_argument("--fix", action="store_true", help="format the files")
    options = parser.parse_args(arguments)
    packages = fetch()
    if packages is None:
        print("JavaScript was not checked: that needs Node.js with npm, and the network once.")
        return 0
    found = problems(packages, fix=options.fix)
    print(found or "JavaScript: formatted, and the types fit.", end="" if found else "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
