"""A pytest plugin: which data the tests use, and how nbval compares a chapter's outputs.

On real MNIST fresh outputs are compared as :mod:`tools.outputs` says. Without MNIST the chapters
run on the stand-in and nothing is compared.
"""

import os
import warnings
from typing import Any

import pytest
from jupyter_client.provisioning import local_provisioner
from nbval.plugin import IPyNbCell

from mnist_course import data
from tests import kernels
from tools.outputs import comparable

_compare_outputs = IPyNbCell.compare_outputs


def compare_outputs(self: Any, test: list[Any], ref: list[Any], skip_compare: Any = None) -> bool:
    tolerance = float(self.cell.metadata.get("tolerance", 0))
    return _compare_outputs(
        self, comparable(test, ref, tolerance), comparable(ref, ref, 0), skip_compare
    )


IPyNbCell.compare_outputs = compare_outputs
local_provisioner.launch_kernel = kernels.launch


def has_mnist() -> bool:
    """Whether real MNIST can be had; if not, every process from here on takes the stand-in."""
    if data.available() == "none":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", data.DataWarning)
            data.load("test")  # downloads all of MNIST where there is a network
    if data.available() in {"folder", "cache"}:
        return True
    os.environ[data.VARIABLE] = data.STAND_IN
    return False


REAL_MNIST = has_mnist()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.option.nbval and not REAL_MNIST:
        config.option.nbval, config.option.nbval_lax = False, True


def pytest_report_header() -> str:
    if REAL_MNIST:
        return "data: real MNIST; the chapters' outputs are compared with the committed ones"
    return "data: no MNIST here; chapters run on the stand-in and no training output is compared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("mnist") and not REAL_MNIST:
            item.add_marker(pytest.mark.skip(reason="needs MNIST: see README, Data"))
