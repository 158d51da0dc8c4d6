"""The reference pages name everything that the server answers and counts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import perene
from perene.server.operations import HEALTH, INFERENCE, NATIVE, OPERATIONS, SCORING, Operation

PAGE = Path(perene.__file__).parent / "docs" / "reference" / "http.md"


def line(operation: Operation) -> str:
    """An operation in the page's tables."""
    statuses = ", ".join(map(str, sorted({*operation.answers, *operation.refusals})))
    return f"| `{operation.method} {operation.path}` | {operation.summary} | {statuses} |"


@pytest.mark.parametrize("tag", [NATIVE, INFERENCE, SCORING, HEALTH])
def test_the_page_tells_every_operation_as_it_is(tag) -> None:
    """Each has its line, with the statuses that it can give; a line that differs is to be replaced by this one."""
    page = PAGE.read_text(encoding="utf-8").splitlines()

    assert [line(operation) for operation in OPERATIONS if operation.tag == tag and line(operation) not in page] == []


def test_the_page_tells_no_other_operation() -> None:
    """What is gone from the server is gone from the page."""
    told = re.findall(r"^\| `([A-Z]+ /\S*)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(told) == sorted(f"{operation.method} {operation.path}" for operation in OPERATIONS)
