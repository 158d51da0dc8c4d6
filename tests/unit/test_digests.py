"""Digests: what they depend on, what they do not, and that they are what they were."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from perene.errors import StorageError
from perene.storage import digests
from perene.storage.digests import Sum, combined, day_sums

INSTANT = pl.Datetime("us", "UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = date(2026, 1, 1)
SCHEMA: dict[str, pl.DataType] = {
    "key": pl.String(),
    "event_at": INSTANT,
    "row": pl.Struct({"carrier": pl.String(), "flight": pl.Int64(), "temp": pl.Float64(), "on": pl.Date()}),
    "label": pl.Boolean(),
}
quick = settings(max_examples=60, deadline=None)

texts = st.text(max_size=6)
instants = st.datetimes(timezones=st.just(UTC))
inner = st.fixed_dictionaries(
    {
        "carrier": st.none() | texts,
        "flight": st.none() | st.integers(-(2**63), 2**63 - 1),
        "temp": st.none() | st.just(-0.0) | st.floats(),
        "on": st.none() | st.dates(),
    }
)
lines = st.fixed_dictionaries({"key": texts, "event_at": instants, "row": inner, "label": st.none() | st.booleans()})
tables = st.lists(lines, min_size=1, max_size=8)


def frame(rows: Sequence[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA)


def digest(rows: pl.DataFrame) -> str:
    """The digest of rows that are all of one day."""
    return day_sums(rows, one_day(rows))[DAY].digest


def one_day(rows: pl.DataFrame) -> pl.Series:
    return pl.Series("day", [DAY] * rows.height, dtype=pl.Date)


# ── the definition, once more in plain Python ────────────────────────────────────────────────────────────────────────


def told(rows: Sequence[dict[str, object]]) -> str:
    """The digest of one day's rows, as the module's first lines define it."""
    total = sum(int.from_bytes(hashlib.sha256(line(row).encode()).digest()) for row in rows) % 2**256
    return hashlib.sha256(f"perene digest 1\n{len(rows)} {total:064x}".encode()).hexdigest()


def line(row: dict[str, object]) -> str:
    flat: dict[str, object] = {}
    for name, value in row.items():
        flat |= {f"{name}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {name: value}
    return "".join(field(name, flat[name]) for name in sorted(flat) if flat[name] is not None)


def field(name: str, value: object) -> str:
    match value:
        case bool():
            kind, text = "b", str(int(value))
        case int():
            kind, text = "i", str(value)
        case float():
            plain = float("nan") if value != value else value or 0.0
            kind, text = "f", str(struct.unpack("<Q", struct.pack("<d", plain))[0])
        case datetime():
            kind, text = "t", str((value - EPOCH) // timedelta(microseconds=1))
        case date():
            kind, text = "d", str((value - EPOCH.date()).days)
        case str():
            kind, text = "s", value
    return f"{name} {kind}{len(text.encode())}:{text};"


@given(tables)
@quick
def test_a_digest_is_what_its_definition_says(rows: list[dict[str, object]]) -> None:
    """Of any rows, the quick way by column and the plain way by row give one digest."""
    assert digest(frame(rows)) == told(rows)


def test_a_digest_is_what_it_was() -> None:
    """These digests were written down once: no library and no change of the code may alter them."""
    rows = [
        {
            "key": '["Zoë \\"q\\""]',
            "event_at": datetime(2013, 3, 1, 5, 0, 0, 1, tzinfo=UTC),
            "row": {"carrier": "UA", "flight": -7, "temp": 0.1, "on": date(1969, 12, 31)},
            "label": True,
        },
        {
            "key": "日本",
            "event_at": datetime(1, 1, 1, tzinfo=UTC),
            "row": {"carrier": None, "flight": 2**63 - 1, "temp": -0.0, "on": None},
            "label": None,
        },
        {
            "key": "",
            "event_at": datetime.max.replace(tzinfo=UTC),
            "row": {"carrier": "", "flight": None, "temp": float("nan"), "on": date.max},
            "label": False,
        },
    ]
    written = "b14705f3416b464d78f1471d033a2f958ad92ff5c70f52fb9dfe04cdd052e3a4"

    assert digest(frame(rows)) == told(rows) == written
    assert (
        combined({DAY: written}, question=["2013-03-01", 7])
        == "a7fa67ef4d153cab290f05215dd9144e97ba813a876353b5d110b170e429ed50"
    )


# ── what it does not depend on ───────────────────────────────────────────────────────────────────────────────────────


@given(tables, st.randoms(use_true_random=False))
@quick
def test_the_order_of_rows_and_columns_does_not_matter(rows: list[dict[str, object]], chance) -> None:
    """Shuffled rows, columns and fields of a struct give the same digest."""
    before = digest(frame(rows))
    shuffled = chance.sample(rows, len(rows))
    names = chance.sample(list(SCHEMA), len(SCHEMA))
    fields = chance.sample(SCHEMA["row"].fields, 4)
    turned = pl.col("row").struct.field(*(f.name for f in fields))

    after = frame(shuffled).select(names).with_columns(row=pl.struct(turned))

    assert digest(after) == before


@given(tables, st.lists(st.integers(0, 8), max_size=4))
@quick
def test_chunks_do_not_matter(rows: list[dict[str, object]], cuts: list[int]) -> None:
    """A frame of several chunks has the digest of the whole one."""
    whole = frame(rows)
    bounds = sorted({0, whole.height, *(cut for cut in cuts if cut < whole.height)})
    parts = [whole[start:end] for start, end in pairwise(bounds)]

    chunked = pl.concat(parts, rechunk=False)

    assert digest(chunked) == digest(whole)


@given(tables)
@quick
def test_a_nullable_field_that_was_gained_leaves_it(rows: list[dict[str, object]]) -> None:
    """A Row or log with one field more, null in old rows, has the old digests: typed or not, inside a struct or not."""
    whole = frame(rows)
    gained = pl.col("row").struct.with_fields(later=pl.lit(None, dtype=pl.Float64))

    more = whole.with_columns(gained, more=pl.lit(None, dtype=pl.Int64), untyped=pl.lit(None))

    assert digest(more) == digest(whole)


def test_whole_numbers_of_any_width_are_the_same() -> None:
    """A column that came back as 32 bits holds the same numbers; text, number and truth of one look do not."""
    of = {kind: digest(pl.DataFrame({"x": pl.Series([1], dtype=kind)})) for kind in (pl.Int64, pl.Int32, pl.UInt8)}

    assert len(set(of.values())) == 1
    others = [digest(pl.DataFrame({"x": [value]})) for value in ("1", 1.0, True, date(1970, 1, 2))]
    assert len({*others, *of.values()}) == 5


def test_instants_of_another_zone_are_the_same() -> None:
    """What counts is the instant."""
    utc = pl.DataFrame({"at": [datetime(2026, 1, 1, tzinfo=UTC)]}, schema={"at": INSTANT})

    assert digest(utc) == digest(utc.with_columns(pl.col("at").dt.convert_time_zone("Asia/Tokyo")))


def test_zeros_and_nans_are_one_each() -> None:
    """-0.0 is 0.0; every NaN, of whatever sign and payload, is one, and no infinity and no null."""
    bits = np.array([0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)
    nans = [digest(pl.DataFrame({"x": bits.view(np.float64)[i : i + 1]})) for i in range(4)]
    others = [digest(pl.DataFrame({"x": [x]}, schema={"x": pl.Float64})) for x in (0.0, -0.0, np.inf, -np.inf, None)]

    assert len(set(nans)) == 1
    assert others[0] == others[1]
    assert len({*nans, *others}) == 5


# ── what it depends on ───────────────────────────────────────────────────────────────────────────────────────────────


@given(tables, st.data())
@quick
def test_any_changed_cell_changes_it(rows: list[dict[str, object]], data: st.DataObject) -> None:
    """One other value in one cell, a null among them, gives another digest."""
    at, name = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.sampled_from([*SCHEMA, *rows[0]["row"]]))
    other = data.draw(lines)
    row = rows[at]
    changed = (
        row | {"row": row["row"] | {name: other["row"][name]}} if name in row["row"] else row | {name: other[name]}
    )
    assume(line(changed) != line(row))

    assert digest(frame([*rows[:at], changed, *rows[at + 1 :]])) != digest(frame(rows))


@given(tables)
@quick
def test_a_row_more_changes_it(rows: list[dict[str, object]]) -> None:
    """The same row twice is not the same as once."""
    assert digest(frame([*rows, rows[0]])) != digest(frame(rows))


def test_a_value_does_not_wander_between_fields() -> None:
    """The name of a field, and where a text ends, are part of what is said."""
    looks = [
        {"a": ["x"], "b": [None]},
        {"a": [None], "b": ["x"]},
        {"a": ["x;b s1:y"], "b": [None]},
        {"a": ["x"], "b": ["y"]},
        {"a": ["xy"], "b": [""]},
        {"a": [""], "b": ["xy"]},
    ]

    assert len({digest(pl.DataFrame(look, schema={"a": pl.String, "b": pl.String})) for look in looks}) == len(looks)


# ── days ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.dates(), lines), max_size=10))
@quick
def test_each_day_has_the_digest_of_its_rows(dated: list[tuple[date, dict[str, object]]]) -> None:
    """However the days lie among one another, each counts its own rows."""
    rows = frame([row for _, row in dated])

    sums = day_sums(rows, pl.Series("day", [day for day, _ in dated], dtype=pl.Date))

    mine = {day: [row for other, row in dated if other == day] for day, _ in dated}
    assert {day: s.digest for day, s in sums.items()} == {day: told(rows) for day, rows in mine.items()}
    assert {day: s.rows for day, s in sums.items()} == {day: len(rows) for day, rows in mine.items()}


def test_many_rows_add_up() -> None:
    """Sums of a hundred thousand rows do not overflow."""
    rows = pl.DataFrame({"x": range(100_000)})
    total = sum(int.from_bytes(hashlib.sha256(field("x", i).encode()).digest()) for i in range(100_000)) % 2**256

    assert day_sums(rows, one_day(rows))[DAY] == Sum(100_000, total)


def test_a_type_without_a_text_is_refused() -> None:
    """A digest of what it cannot write down would prove nothing."""
    for values in ([[1.0]], [timedelta(1)], [b"x"]):
        with pytest.raises(StorageError, match="has no digest"):
            digest(pl.DataFrame({"x": values}))
    with pytest.raises(StorageError, match="has no digest"):
        digest(pl.DataFrame({"x": [1.0]}, schema={"x": pl.Float32}))


def test_a_combined_digest_is_of_the_question_and_every_day() -> None:
    """The order of days does not matter; a day more, another digest or another question does."""
    days = {date(2026, 1, 1): "a", date(2026, 1, 2): "b"}
    digests = [
        combined(days, question=["q", 1]),
        combined(days, question=["q", 2]),
        combined(days | {date(2026, 1, 3): "c"}, question=["q", 1]),
        combined({date(2026, 1, 1): "b", date(2026, 1, 2): "a"}, question=["q", 1]),
        combined({}, question=["q", 1]),
    ]

    assert combined(dict(reversed(days.items())), question=["q", 1]) == digests[0]
    assert len(set(digests)) == len(digests)


def test_many_rows_are_digested_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever parts the rows become texts, each day's digest is that of its rows, also where days are mixed."""
    count = 23
    rows = pl.DataFrame({"key": [str(i) for i in range(count)], "label": [i % 2 == 0 for i in range(count)]})
    days = pl.Series("day", [DAY + timedelta(days=i % 3) for i in range(count)])
    whole = day_sums(rows, days)

    monkeypatch.setattr(digests, "_ROWS_AT_ONCE", 4)

    assert day_sums(rows, days) == whole
    assert [whole[DAY + timedelta(days=i)].rows for i in range(3)] == [8, 8, 7]
    for i in range(3):
        mine = rows[i::3]
        assert day_sums(mine, one_day(mine))[DAY] == whole[DAY + timedelta(days=i)]
