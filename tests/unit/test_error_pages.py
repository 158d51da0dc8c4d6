"""Error codes and their pages in docs/errors: what the source can give is what the pages explain."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import perene
from perene import errors
from perene.server.problems import _STATUS_OF_CODE

SOURCE = Path(perene.__file__).parent
PAGES = SOURCE / "docs" / "errors"
INDEX = PAGES / "README.md"
KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
HEADINGS = ["What it means", "When it comes", "Example", "How to mend it", "Related"]
TREE = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, errors.PereneError) and kind is not errors.PereneError
}
MENDS_THEMSELVES = {"DeclarationError", "SettingsError", "_MistakesError"}  # with a mend of their own, unless given one


def test_the_pages_lie_in_the_repository_and_in_the_package() -> None:
    """docs/ of the repository is the documentation that the package has."""
    assert PAGES.samefile(Path(__file__).parents[2] / "docs" / "errors")


@cache
def trees() -> dict[str, ast.Module]:
    """The syntax of every file of the source, but for what is written into a user's project."""
    files = [file for file in SOURCE.rglob("*.py") if "template" not in file.parts]
    return {file.relative_to(SOURCE).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def given(node: ast.AST) -> Iterator[ast.expr]:
    """What a node gives as a code: to an error or a report, as the code of a class, or as what a database means."""
    match node:
        case ast.Call(func=ast.Name(id="_Meaning"), args=[code, *_]):
            yield code
        case ast.Call(keywords=keywords):
            yield from (keyword.value for keyword in keywords if keyword.arg == "code")
        case ast.ClassDef(body=body):
            for line in body:
                if (
                    isinstance(line, ast.Assign)
                    and isinstance(line.targets[0], ast.Name)
                    and line.targets[0].id == "code"
                ):
                    yield line.value


def texts(code: ast.expr) -> list[str] | None:
    """The codes that an expression writes down: none when it passes one on, None when it composes one."""
    match code:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.BoolOp(values=choices):
            parts = [texts(choice) for choice in choices]
            return None if None in parts else [text for part in parts for text in part or []]
        case ast.Call(func=ast.Name(id="str"), args=[inner]):
            return texts(inner)
        case ast.Constant(value=int()) | ast.Call(func=ast.Name(id="exit_code")):  # of a process
            return []
        case ast.Name() | ast.Attribute() | ast.Subscript() | ast.Call(func=ast.Attribute(attr="get")):
            return []
        case _:
            return None


def codes_by_place() -> list[tuple[str, str]]:
    """Every code of the source, with its place."""
    return [
        (text, f"{file}:{code.lineno}")
        for file, tree in trees().items()
        for node in ast.walk(tree)
        for code in given(node)
        for text in texts(code) or []
    ]


CODES = sorted({code for code, _ in codes_by_place()})
PAGE_CODES = sorted(page.stem for page in PAGES.glob("*.md") if page != INDEX)


def test_every_code_is_kebab_case() -> None:
    """Codes are stable names of small letters, digits and hyphens, everywhere in the source."""
    assert [place for code, place in codes_by_place() if not KEBAB.fullmatch(code)] == []


def test_no_code_is_composed() -> None:
    """A code stands in the source as it is printed, so that it can be found there."""
    composed = [
        f"{file}:{code.lineno}"
        for file, tree in trees().items()
        for node in ast.walk(tree)
        for code in given(node)
        if texts(code) is None
    ]

    assert composed == []


def test_every_class_of_the_tree_has_its_code_among_them() -> None:
    """The walk over the source sees what the classes say."""
    assert {kind.code for kind in TREE.values()} <= set(CODES)


def test_every_code_has_a_page_and_every_page_its_code() -> None:
    """What can be given is explained, and nothing else is."""
    assert PAGE_CODES == CODES


def test_a_status_is_kept_for_codes_that_there_are_only() -> None:
    """HTTP knows no code that nothing gives."""
    assert set(_STATUS_OF_CODE) <= set(CODES)


def sections(code: str) -> dict[str, str]:
    """A page's headings and what stands under them."""
    parts = re.split(r"^## (.+)$", (PAGES / f"{code}.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"": parts[0].strip()} | {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize("code", PAGE_CODES)
def test_a_page_has_its_parts(code) -> None:
    """The code is the title; then come the same headings on every page, none of them empty."""
    parts = sections(code)

    assert parts[""] == f"# {code}"
    assert list(parts)[1:] == HEADINGS
    assert all(parts.values())


@pytest.mark.parametrize("code", PAGE_CODES)
def test_the_example_shows_the_error_as_it_is_printed(code) -> None:
    """On the command line with its code and its page, over HTTP as a problem, in Python as an exception."""
    example = sections(code)["Example"]

    printed = f"error[{code}]: " in example and f"  docs  perene docs {code}\n" in example
    answered = f'"code": "{code}"' in example and f'"type": "urn:perene:{code}"' in example
    raised = any(f"perene.errors.{name}: " in example for name, kind in TREE.items() if kind.code == code)
    assert printed or answered or raised


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_links_lead_to_pages(page) -> None:
    """Whatever a page links to is there."""
    text = page.read_text(encoding="utf-8")

    assert [link for link in re.findall(r"\]\(([^)]+)\)", text) if not (PAGES / link).is_file()] == []


def test_the_index_lists_every_page_with_its_sentence() -> None:
    """Each code once, and what it means as its page begins."""
    listed = re.findall(r"^\| \[([a-z-]+)\]\(\1\.md\) \| (.+) \|$", INDEX.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(listed) == [(code, sections(code)["What it means"]) for code in PAGE_CODES]


def classes_of_errors() -> set[str]:
    """The names of all error classes in the source, those of rooms too."""
    names = set(TREE) | {"PereneError"}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id in names for b in node.bases):
                names.add(node.name)
    return names


def test_every_error_says_how_to_mend_it() -> None:
    """Whoever makes an error gives it a mend; what a hook returned wrong is told as a mistake of its declaration."""
    names = classes_of_errors() - MENDS_THEMSELVES
    without = [
        f"{file}:{node.lineno}"
        for file, tree in trees().items()
        if file != "definition/hooks.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
        if not any(
            keyword.arg == "mend" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
            for keyword in node.keywords
        )
    ]

    assert without == []


@pytest.mark.parametrize("kind", [errors.DeclarationError, errors.SettingsError])
def test_mistakes_say_how_to_go_on(kind) -> None:
    """An error that lists mistakes says what to do after they are mended."""
    assert kind("wrong", ()).mend == "mend each of them, then perene check"
