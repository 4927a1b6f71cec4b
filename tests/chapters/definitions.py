"""Reach into a chapter: what it defines, without running the rest of it."""

import ast
from typing import Any

from tools.chapters import read, sources


def definitions(chapter: str) -> dict[str, Any]:
    """The imports, functions, classes and UPPER_CASE constants that a chapter's cells define.

    Nothing else is executed, so that a test of what a chapter teaches needs no data and no time.
    Imports that a chapter makes for its figures only are executed as well.
    """
    (source,) = sources([chapter])
    kept: list[ast.stmt] = []
    for cell in read(source).cells:
        if cell.cell_type != "code":
            continue
        code = "\n".join(
            line for line in cell.source.splitlines() if not line.startswith(("%", "!"))
        )
        for node in ast.parse(code).body:
            is_constant = isinstance(node, ast.Assign) and all(
                isinstance(target, ast.Name) and target.id.isupper() for target in node.targets
            )
            if is_constant or isinstance(
                node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
            ):
                kept.append(node)
    namespace: dict[str, Any] = {"__name__": f"chapter_{chapter[:2]}"}
    exec(compile(ast.Module(kept, type_ignores=[]), str(source), "exec"), namespace)
    return namespace
