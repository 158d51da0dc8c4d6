"""Where something stands in the user's files: ``models/late_arrival.py:41``."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path


def place_of_caller(depth: int) -> str:
    """The line that called the function which calls this one (``depth`` 1), or its caller (2) …"""
    frame = sys._getframe(depth + 1)
    return f"{_shown(frame.f_code.co_filename, frame.f_globals.get('__name__', ''))}:{frame.f_lineno}"


def place_of_function(function: Callable[..., object], *, otherwise: str) -> str:
    """The line on which a function begins; ``otherwise`` for callables without source."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return otherwise
    return f"{_shown(code.co_filename, function.__module__)}:{code.co_firstlineno}"


def place_of_class(cls: type, field: str | None = None) -> str:
    """The line on which a class begins, or that of one of its fields; the class's full name when its source is gone."""
    try:
        lines, first = inspect.getsourcelines(cls)
        file = inspect.getfile(cls)
    except (OSError, TypeError):
        return f"{cls.__module__}.{cls.__qualname__}" + (f".{field}" if field else "")
    return f"{_shown(file, cls.__module__)}:{first + _offset(lines, field)}"


def _offset(lines: list[str], field: str | None) -> int:
    if field is None:
        return 0
    declared = ast.parse(textwrap.dedent("".join(lines))).body[0]
    for node in declared.body if isinstance(declared, ast.ClassDef) else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == field:
            return node.lineno - 1
    return 0


def _shown(file: str, module: str) -> str:
    """The file's path from the folder that the module's name starts in, else its bare name."""
    path = Path(file)
    parts = module.split(".")
    return "/".join(path.parts[-len(parts) :]) if path.stem == parts[-1] else path.name
