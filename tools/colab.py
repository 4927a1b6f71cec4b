"""The first cell of every notebook: on Colab it fetches the course, elsewhere it does nothing.

It contains no address. Colab knows which repository a notebook was opened from, and the cell
fetches that one: the notebooks of a fork run the fork's code.
"""

from __future__ import annotations

from nbformat import NotebookNode, v4

# Imports of the chapters that the package does not need and Colab does not have.
LACKS = ("captum", "onnx", "onnxruntime", "onnxscript")
CODE = """\
# On Colab this fetches the course from where this notebook was opened; elsewhere it does nothing.
import sys

if "google.colab" in sys.modules:
    import json, os, re
    from contextlib import suppress
    from urllib.parse import unquote
    from urllib.request import urlopen

    colab, opened = os.environ.get("COLAB_JUPYTER_IP", "172.28.0.12"), ""
    with suppress(OSError, LookupError, ValueError):
        opened = unquote(json.load(urlopen(f"http://{colab}:9000/api/sessions"))[0]["path"])
    here = re.search(r"(https://github\\.com/[\\w.-]+/[\\w.-]+)/blob/([\\w.-]+)/", opened)
    if here and not os.path.exists("/content/course"):
        get_ipython().system(
            f"git clone --quiet --depth 1 --branch {here[2]} {here[1]} /content/course"
        )
    if os.path.exists("/content/course"):
        get_ipython().run_line_magic("pip", "install --quiet /content/course PACKAGES")
        sys.path.insert(0, "/content/course")
    else:
        print("Choose File → Open notebook → GitHub, and open this chapter from your repository;")
        print("or clone the course into /content/course, and run this cell again.")""".replace(
    "PACKAGES", " ".join(LACKS)
)


def cell() -> NotebookNode:
    """The cell; the page does not show it."""
    return v4.new_code_cell(CODE, metadata={"tags": ["remove-cell"]})
