"""The pages in docs/ do what they say: their Python runs beside the demo's model, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from perene import Model

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
EXPLAINED = [page for page in PAGES if page.parent.name == "explanation"]
MODEL = ROOT / "src/perene/demo/template/models/late_arrival.py"


def name(page: Path) -> str:
    """Where a page lies."""
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def beside() -> dict[str, Any]:
    """The names of the demo's model file, and of the modules that its reader has at hand."""
    spec = importlib.util.spec_from_file_location("late_arrival_of_docs", MODEL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {**vars(module), "UTC": UTC, "datetime": datetime, "pl": pl}


@pytest.mark.parametrize("page", EXPLAINED, ids=name)
def test_the_python_of_a_page_runs(page: Path, beside: dict[str, Any]) -> None:
    """Each block can be added to the demo's model, which stays sound, as do models that the page declares."""
    for block in re.findall(r"^ *```python\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
        indent = len(block) - len(block.lstrip(" "))
        code = re.sub(rf"^ {{{indent}}}", "", block, flags=re.MULTILINE)
        exec(compile(code, page.name, "exec", dont_inherit=True), beside)

    for model in [value for value in beside.values() if isinstance(value, Model)]:
        model.ensure_sound()


def test_the_golden_rows_of_the_page_fit(beside: dict[str, Any]) -> None:
    """What the page declares as golden rows are rows of the demo's Row, each with its bounds."""
    page = (ROOT / "docs/explanation/not-worse.md").read_text()
    block = re.search(r"^ *```python\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    exec(re.sub(r"^  ", "", block.group(1), flags=re.MULTILINE), beside)

    rows = beside["late"].golden_hook()
    checked = beside["late"].schema.check(rows.drop("least", "most"))

    assert checked.good.height == rows.height > 0
    assert checked.extra == ()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    """A link to another file of the repository names one that is there."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
