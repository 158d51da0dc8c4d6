"""Errors: one tree, four parts, and the same on the other side of a process border."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perene import errors
from perene.errors import BadField, BadRows, DeclarationError, Mistake, PereneError, SettingsError, StorageError

CLASSES = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, PereneError) and not kind.__name__.startswith("_")
]


def drawn() -> list[str]:
    """The errors that the module's docstring draws."""
    return re.findall(r"^    (?:[├└]── )?(\w+)(?: +\S.*)?$", errors.__doc__ or "", re.MULTILINE)


def made(kind: type[PereneError]) -> PereneError:
    """An error of a kind, with all that it can have."""
    if kind is BadRows:
        return BadRows("two rows", (BadField(row=3, field="a", what="is missing"),), why="w", mend="m")
    if issubclass(kind, DeclarationError | SettingsError):
        return kind("wrong", (Mistake(where="models/a.py:3", what="it is", mend="do"),), mend="m")
    return kind("broken", why="w", mend="m", seen=("a", "b"), code="another-code")


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Each error is drawn once, and each that is drawn is there."""
    assert sorted(drawn()) == sorted(kind.__name__ for kind in CLASSES)


def test_every_error_is_a_child_of_the_one_root() -> None:
    """As drawn: nothing public stands between an error and PereneError."""
    for kind in CLASSES:
        public = [parent for parent in kind.__mro__[1:] if parent in CLASSES]
        assert public == ([] if kind is PereneError else [PereneError])


def test_every_error_says_what_it_is_for() -> None:
    """A docstring of its own, and a code of its own."""
    assert all(kind.__doc__ != PereneError.__doc__ for kind in CLASSES if kind is not PereneError)
    assert len({kind.code for kind in CLASSES}) == len(CLASSES)


# ── what an error says ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_error_says_what_why_seen_and_mend_in_this_order() -> None:
    """Each on its line; what it does not have is left out."""
    whole = StorageError("it broke", why="it is old", mend="buy one", seen=("line 1", "line 2"))

    assert str(whole).splitlines() == [
        "it broke",
        "  why: it is old",
        "  seen: line 1",
        "  seen: line 2",
        "  mend: buy one",
    ]
    assert str(StorageError("it broke")) == "it broke"


def test_an_error_has_the_code_of_its_kind_unless_it_has_its_own() -> None:
    """Giving one changes nothing for the others."""
    assert StorageError("a", code="disk-full").code == "disk-full"
    assert StorageError("a").code == "storage"


def test_mistakes_are_seen_with_their_place_and_mend() -> None:
    """All of them, in their order."""
    mistakes = (Mistake(where="a.py:1", what="is wrong", mend="mend it"), Mistake(where="serve.port", what="is 0"))

    error = SettingsError("not right", mistakes)

    assert error.mistakes == mistakes
    assert error.seen == ("a.py:1: is wrong (mend it)", "serve.port: is 0")


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (1, 1), (10, 10), (11, 11), (1000, 11)])
def test_ten_bad_fields_are_shown_and_all_are_kept(count, shown) -> None:
    """A million bad rows are no message; how many more there are is said."""
    fields = tuple(BadField(row=n, field="a", what="is missing") for n in range(count))

    error = BadRows("bad", fields)

    assert (len(error.seen), error.fields) == (shown, fields)
    assert count <= 10 or error.seen[-1] == f"and {count - 10} more"


def test_a_bad_row_as_a_whole_is_named_without_a_field() -> None:
    """As "row 3: …"."""
    fields = (BadField(row=3, field="", what="is no object"), BadField(row=4, field="a", what="is missing"))

    assert BadRows("bad", fields).seen == ("row 3: is no object", "row 4, a: is missing")


# ── crossing borders ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_comes_back_whole(kind, again) -> None:
    """Pickled or copied: its kind, its four parts, what was seen, and the mistakes or fields that it lists."""
    error = made(kind)
    error.add_note("a note")

    back = again(error)

    assert type(back) is kind
    assert vars(back) == vars(error)
    assert (str(back), back.args) == (str(error), error.args)


@given(st.text(), st.text(), st.text(), st.lists(st.text()).map(tuple), st.none() | st.text(min_size=1))
@settings(deadline=None)
def test_any_words_come_back(what, why, mend, seen, code) -> None:
    """Whatever an error says survives."""
    error = StorageError(what, why=why, mend=mend, seen=seen, code=code)

    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


def test_an_error_crosses_a_real_process_border() -> None:
    """As training's child sends it to its parent."""
    error = made(DeclarationError)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        back = pool.submit(copy.copy, error).result(60)

    assert isinstance(back, DeclarationError)
    assert vars(back) == vars(error)
