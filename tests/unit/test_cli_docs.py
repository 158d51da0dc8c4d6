"""``perene docs``: pages that are installed, printed without a network."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from perene.cli import main
from perene.cli.docs import read_pages


def test_a_page_is_printed_as_it_is_written(capsys):
    """The page of an error code is the file of the repository."""
    assert main(["docs", "data-empty"]) == 0

    said = capsys.readouterr().out
    assert said.startswith("# data-empty\n\n## What it means\n\nThere is no row where there must be some.\n")
    assert said == next(page.text for page in read_pages() if page.topic == "data-empty")


def test_without_a_topic_the_pages_are_listed(capsys):
    """Each page by its topic, with its folder and its first sentence."""
    assert main(["docs"]) == 0

    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["topic", "about", "summary"]
    assert ["held", "errors", "The model is on hold, so no version of it is released by itself."] in lines
    assert next(topic for topic, about, _ in lines if about == "errors") == "errors"  # the index comes first


def test_topics_are_told_apart_by_their_names():
    """No two pages have one topic, and each has a sentence to be known by."""
    pages = read_pages()

    assert [topic for topic, times in Counter(page.topic for page in pages).items() if times > 1] == []
    assert [page.topic for page in pages if not page.summary] == []


@pytest.mark.parametrize(("asked", "meant"), [("data-emtpy", "data-empty"), ("zzz", None)])
def test_an_unknown_page_names_the_near_one(capsys, asked, meant):
    """The exit code is 5, and what was probably meant is told."""
    assert main(["docs", asked]) == 5

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error[not-found]: there is no page '{asked}'")
    assert ("did you mean" in said.err) == (meant is not None)
    assert meant is None or f"did you mean {meant}?" in said.err


def test_a_page_and_the_list_can_be_json(capsys):
    """--json gives the text of a page, and the topics of the list; -q the topics alone."""
    assert main(["docs", "held", "--json"]) == main(["docs", "--json"]) == main(["docs", "-q"]) == 0

    page, listed, *topics = capsys.readouterr().out.splitlines()
    assert json.loads(page)["data"]["text"].startswith("# held\n")
    assert [item["topic"] for item in json.loads(listed)["data"]] == topics


def test_whatever_error_is_shown_leads_to_its_page(capsys):
    """The last line of an error is a command, and it prints the page of the code."""
    main(["status", "--project", "/nowhere"])
    *_, last = capsys.readouterr().err.splitlines()

    assert last.startswith("  docs  perene docs ")
    assert main(last.split()[2:]) == 0
