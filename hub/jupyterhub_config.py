"""JupyterHub on one machine, for a class of 20 or of 200.

    jupyterhub --config hub/jupyterhub_config.py

Set ``LEARNERS`` to 20 (the default) or 200 in the hub's environment, and ``MNIST_COURSE_DATA`` to
the folder of the digits. ``/etc/course/learners.txt`` (or the file in ``LEARNERS_FILE``) has a name
on each line; each is an account of the machine, made when it is missing. Run it as root, with
systemd, in the environment in which the course is installed, which also needs

    python -m pip install jupyterhub jupyterhub-systemdspawner jupyterhub-idle-culler

and the program configurable-http-proxy, which comes from npm. Put a web server with HTTPS in front.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "build" / "_build" / "html"


class Size(NamedTuple):
    """What a class needs.

    Attributes:
        memory: of one learner at most; a kernel that asks for more is stopped.
        cores: of one learner at most.
        starts: desks that are opened at the same time.
        idle: seconds after which an unused desk is closed.
    """

    memory: str
    cores: float
    starts: int
    idle: int


SIZES = {
    20: Size(memory="3G", cores=2.0, starts=10, idle=2 * 3600),  # 8 cores, 48 GB
    200: Size(memory="2G", cores=1.0, starts=20, idle=3600),  # 64 cores, 256 GB
}

learners = int(os.environ.get("LEARNERS", "20"))
if learners not in SIZES:
    raise SystemExit(f"expected LEARNERS to be one of {', '.join(map(str, SIZES))}, got {learners}")
size = SIZES[learners]
names = Path(os.environ.get("LEARNERS_FILE", "/etc/course/learners.txt"))
data = os.environ.get("MNIST_COURSE_DATA", "")
if not data:
    raise SystemExit("set MNIST_COURSE_DATA to the folder that holds MNIST")

c = get_config()  # noqa: F821

# Who comes in: the accounts of the machine that are on the list.
c.Authenticator.allowed_users = set(names.read_text(encoding="utf-8").split())
c.LocalAuthenticator.create_system_users = True
c.JupyterHub.bind_url = "http://127.0.0.1:8000"

# A desk for each learner, with limits that systemd keeps.
c.JupyterHub.spawner_class = "systemdspawner.SystemdSpawner"
c.Spawner.cmd = [sys.executable, str(ROOT / "hub" / "learner.py")]
c.Spawner.notebook_dir = "~/desk"
c.Spawner.default_url = "/lab/tree/00-start-here.ipynb"
c.Spawner.mem_limit = size.memory
c.Spawner.cpu_limit = size.cores
c.Spawner.start_timeout = c.Spawner.http_timeout = 120  # seconds, when all come at once
c.Spawner.environment = {"MNIST_COURSE_DATA": data, "OMP_NUM_THREADS": "1"}
c.Spawner.args = [
    # A kernel of a closed tab goes after half an hour: it is a kernel that holds memory.
    "--MappingKernelManager.cull_idle_timeout=1800",
    "--MappingKernelManager.cull_interval=300",
]
c.SystemdSpawner.isolate_tmp = True
c.SystemdSpawner.disable_user_sudo = True
c.SystemdSpawner.readonly_paths = [str(ROOT), data]
c.JupyterHub.active_server_limit = learners
c.JupyterHub.concurrent_spawn_limit = size.starts

# The book, to be read and not written, at /services/book/; and what closes unused desks.
c.JupyterHub.services = [
    {
        "name": "book",
        "url": "http://127.0.0.1:10101",
        "command": [sys.executable, str(ROOT / "hub" / "book.py"), str(BOOK)],
    },
    {
        "name": "idle",
        "command": [
            *(sys.executable, "-m", "jupyterhub_idle_culler"),
            f"--timeout={size.idle}",
            "--cull-every=300",
        ],
    },
]
c.JupyterHub.load_roles = [
    {
        "name": "idle",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["idle"],
    },
    {"name": "user", "scopes": ["self", "access:services!service=book"]},
]
