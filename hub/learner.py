"""What JupyterHub starts for a learner, as that learner: it renews the desk, then opens it.

What it is given goes on to ``jupyterhub-singleuser``. A desk that cannot be renewed, because the
disk is full or another program is at it, is opened as it is; the hub's log says why.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mnist_course import desk

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> None:
    """Renew the desk in the learner's home, and become the learner's server."""
    folder = Path.home() / "desk"
    command = [sys.executable, "-m", "tools.desk", "--folder", str(folder), "--copy"]
    subprocess.run(command, cwd=ROOT, check=False)
    folder.mkdir(exist_ok=True)
    settings = [str(ROOT / "tools" / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, settings))
    program = str(Path(sys.executable).with_name("jupyterhub-singleuser"))
    os.execv(program, [program, desk.HOOK, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
