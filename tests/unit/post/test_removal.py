"""Block and filter: rows are taken out, with their reason."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perene import post
from perene.errors import ServingError

NOWHERE = Path("/nowhere")
IDS = st.sampled_from(["v1", "v2", "v3", None])


def items_of(count, removed=None) -> pl.DataFrame:
    return pl.DataFrame(
        {"item": range(count), "score": [1 - n / 100 for n in range(count)], "removed": removed or [None] * count},
        schema={"item": pl.UInt32, "score": pl.Float64, "removed": pl.String},
    )


def removed_by(step, rows, *, folder=NOWHERE, p=None) -> list[str | None]:
    """The reasons, of a group and of single rows, which must be the same."""
    items = items_of(rows.height)
    after = step(rows=rows, items=items, folder=folder)
    assert after.drop("removed").rows() == items.drop("removed").rows()
    single = step(rows=rows, p=items["score"].to_numpy() if p is None else p, folder=folder)
    assert single.to_list() == after["removed"].to_list()
    return single.to_list()


# ── block ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(IDS, max_size=8), st.sets(st.sampled_from(["v1", "v2", "other"])))
def test_what_is_on_the_list_is_taken_out(videos, ids) -> None:
    """With the reason; null is on no list."""
    rows = pl.DataFrame({"video": videos}, schema={"video": pl.String})

    reasons = removed_by(post.block("video", ids=sorted(ids), reason="court order"), rows)

    assert reasons == ["court order" if video in ids else None for video in videos]


def test_a_row_is_blocked_by_what_holds_of_it() -> None:
    """A field, an expression, or a function; what is not known is not blocked."""
    rows = pl.DataFrame({"minor": [True, None, False], "age": [12, None, 30]})

    for when in ("minor", pl.col("age") < 18, lambda rows: rows["minor"]):
        assert removed_by(post.block(when=when, reason="minors"), rows) == ["minors", None, None]


def test_a_reason_stays_the_first() -> None:
    """Who was taken out before keeps the reason of that."""
    rows = pl.DataFrame({"video": ["v1", "v2"]})
    items = items_of(2, ["unsafe", None])

    after = post.block("video", ids=["v1", "v2"], reason="court order")(rows=rows, items=items, folder=NOWHERE)

    assert after["removed"].to_list() == ["unsafe", "court order"]


def test_a_list_in_a_file_is_read_again_when_it_changes(tmp_path) -> None:
    """Without a new version: the next rows are asked of the new list."""
    rows = pl.DataFrame({"video": ["v1", "v2", "v3"]})
    step = post.block("video", file="removed.txt", reason="court order")
    file = tmp_path / "removed.txt"
    seen = []

    for content in ("v1\n", "# by order of 28 November\n\nv1\n v3  # appealed\n", "", "\ufeffv2\r\n"):
        fresh = tmp_path / "fresh.txt"
        fresh.write_text(content, encoding="utf-8")
        fresh.replace(file)
        seen.append([why is not None for why in removed_by(step, rows, folder=tmp_path)])

    assert seen == [[True, False, False], [True, False, True], [False] * 3, [False, True, False]]


def test_a_list_of_numbers_is_of_numbers(tmp_path) -> None:
    """007 is 7 of a field of integers, and is not 7 of one of texts."""
    (tmp_path / "removed.txt").write_text("007\n-3\n")
    step = post.block("video", file=tmp_path / "removed.txt", reason="court order")

    assert removed_by(step, pl.DataFrame({"video": [7, 3, -3]})) == ["court order", None, "court order"]
    assert removed_by(step, pl.DataFrame({"video": ["7", "007"]})) == [None, "court order"]


@pytest.mark.parametrize("content", [None, b"seven\n", b"\xff\xfe\x00", b"99999999999999999999\n"])
def test_a_list_that_cannot_be_read_answers_nothing(tmp_path, content) -> None:
    """A missing file, or a line that is no id, fails the request: what is on it may not slip through."""
    file = tmp_path / "removed.txt"
    step = post.block("video", file="removed.txt", reason="court order")
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ServingError) as caught:
        removed_by(step, pl.DataFrame({"video": [7]}), folder=tmp_path)

    assert caught.value.code == "list-unreadable"
    assert str(file) in caught.value.why

    file.write_text("7\n")
    assert removed_by(step, pl.DataFrame({"video": [7]}), folder=tmp_path) == ["court order"]


def test_a_list_that_is_gone_is_not_remembered(tmp_path) -> None:
    """What was read before does not stand for a file that is not there any more."""
    file = tmp_path / "removed.txt"
    file.write_text("v1\n")
    step = post.block("video", file="removed.txt", reason="court order")
    rows = pl.DataFrame({"video": ["v1"]})
    removed_by(step, rows, folder=tmp_path)

    file.unlink()

    with pytest.raises(ServingError, match=r"removed\.txt"):
        removed_by(step, rows, folder=tmp_path)


def test_a_list_that_has_not_changed_is_read_once(tmp_path) -> None:
    """A request does not pay for the file; its times and length tell."""
    file = tmp_path / "removed.txt"
    file.write_text("v1\n")
    step = post.block("video", file="removed.txt", reason="court order")
    rows = pl.DataFrame({"video": ["v1", "v2"]})
    before = removed_by(step, rows, folder=tmp_path)
    stat = file.stat()
    with file.open("r+") as opened:
        opened.write("v2\n")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert removed_by(step, rows, folder=tmp_path) == before


# ── filter ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SCORES = st.one_of(st.floats(-2, 2), st.none(), st.just(math.nan))


@given(st.lists(SCORES, max_size=8), st.floats(-1, 1), st.sampled_from(["keep", "remove"]))
def test_filter_takes_out_what_lies_beyond_a_bound(scores, bound, unknown) -> None:
    """What equals it stays; what has no score stays or goes, as is said."""
    rows = pl.DataFrame({"toxicity": scores}, schema={"toxicity": pl.Float64})

    for bounds, is_beyond in (
        ({"above": bound}, lambda x: x > bound),
        ({"below": bound}, lambda x: x < bound),
        ({"below": bound, "above": bound + 0.5}, lambda x: x < bound or x > bound + 0.5),
    ):
        reasons = removed_by(post.filter("toxicity", **bounds, reason="toxic", unknown=unknown), rows)
        for score, why in zip(scores, reasons, strict=True):
            is_unknown = score is None or math.isnan(score)
            assert why == ("toxic" if (unknown == "remove" if is_unknown else is_beyond(score)) else None)


def test_filter_by_the_outputs_themselves() -> None:
    """A function that names p gets them in the order of the rows, however the items lie."""
    rows = pl.DataFrame({"video": ["v1", "v2", "v3"]})
    step = post.filter(lambda p: p, below=0.5, reason="too weak")
    items = items_of(3).with_columns(score=pl.Series([0.9, 0.6, 0.1]))[[2, 0, 1]]

    after = step(rows=rows, items=items, folder=NOWHERE)

    assert after["removed"].to_list() == ["too weak", None, None]
    assert step(rows=rows, p=np.asarray([0.9, 0.6, 0.1]), folder=NOWHERE).to_list() == [None, None, "too weak"]
