"""``perene docs``: the documentation that is installed with perene; it needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

import perene
from perene.cli.door import Door
from perene.cli.output import Column
from perene.cli.verbs import Verb

_ROOT = Path(perene.__file__).parent / "docs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page: what to ask for, the folder that it is in, and what it is about in a sentence."""

    topic: str
    about: str
    summary: str
    text: str


def read_pages(root: Path = _ROOT) -> list[Page]:
    """All pages under a folder, by folder and topic. A README is the page of its folder."""
    return [_read(file, root) for file in sorted(root.rglob("*.md"), key=lambda file: (file.parent, file.stem))]


def _read(file: Path, root: Path) -> Page:
    is_index = file.stem == "README"
    folder = file.parent.relative_to(root).name or "perene"
    text = file.read_text(encoding="utf-8")
    return Page(topic=folder if is_index else file.stem, about=folder, summary=_summary(text), text=text)


def _summary(text: str) -> str:
    """The first sentence of a page that is no heading."""
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    first = next((part for part in paragraphs if part and not part.startswith("#")), "")
    sentence, end, _ = first.partition(". ")
    return sentence + end.strip()


def _topics(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    return [page.topic for page in read_pages() if page.topic.startswith(typed)]


@click.command(
    "docs",
    cls=Verb,
    project=False,
    examples="""
      perene docs                what there is to read
      perene docs data-empty     what an error code means, and how to mend it
      perene docs errors         all error codes
    """,
)
@click.argument("topic", required=False, shell_complete=_topics)
@click.pass_obj
def command(door: Door, topic: str | None) -> None:
    """Print a page of the documentation, or the list of pages."""
    pages = read_pages()
    if topic is None:
        names = [{"topic": page.topic, "about": page.about, "summary": page.summary} for page in pages]
        door.out.table("docs.list", pages, columns=_COLUMNS, id_of=lambda page: page.topic, data=names)
        return
    page = next((page for page in pages if page.topic == topic), None)
    if page is None:
        raise _unknown(topic, pages)
    data = {"topic": page.topic, "about": page.about, "text": page.text}
    door.out.done("docs", data, text=page.text.rstrip("\n"), id=page.topic)


_COLUMNS: list[Column[Page]] = [
    Column(title="topic", value=lambda page: page.topic),
    Column(title="about", value=lambda page: page.about, spare=1),
    Column(title="summary", value=lambda page: page.summary),
]


def _unknown(topic: str, pages: list[Page]) -> Exception:
    from perene.definition.spelling import did_you_mean
    from perene.errors import NotFound

    hint = did_you_mean(topic, [page.topic for page in pages])
    return NotFound(f"there is no page {topic!r}{hint}", mend="perene docs lists them")
