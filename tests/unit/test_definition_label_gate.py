"""Labels, gates and built-in metrics."""

import enum
from datetime import timedelta
from typing import Literal

import numpy as np
import polars as pl
import pytest

from perene import Label, gate
from perene.definition.gates import Margin
from perene.definition.label import Task
from perene.definition.metrics import absolute_error, built_in, log_loss, squared_error


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("kind", "task", "dtype", "classes"),
    [
        (float, Task.REGRESSION, pl.Float64(), ()),
        (bool, Task.BINARY, pl.Boolean(), ()),
        (Literal["low", "high"], Task.MULTICLASS, pl.String(), ("low", "high")),
        (Colour, Task.MULTICLASS, pl.String(), ("red", "blue")),
    ],
)
def test_type_gives_the_task(kind, task, dtype, classes):
    """The label's type gives the task, the column and the classes in their declared order."""
    label = Label("y", kind)

    assert (label.task, label.dtype, label.classes, label.mistakes) == (task, dtype, classes, ())


@pytest.mark.parametrize(("kind", "dtype"), [(float, pl.Float64()), (bool, pl.Boolean())])
def test_group_gives_ranking(kind, dtype):
    """A grouped label is ranked by, and keeps its column's type and the fields that a group shares."""
    label = Label("y", kind, group=["user", "visit"])

    assert (label.task, label.dtype, label.group, label.mistakes) == (Task.RANKING, dtype, ("user", "visit"), ())


@pytest.mark.parametrize("group", [True, False, "", [], ["visit", "visit"], [1]])
def test_a_group_without_fields_is_a_mistake(group):
    """And says how it is named."""
    (mistake,) = Label("y", bool, group=group).mistakes

    assert "say which the rows of a request share" in mistake.what


def test_label_keeps_its_times():
    """known_at is a column's name and wait a duration."""
    label = Label("late", bool, known_at="landed_at", wait="36h")

    assert (label.known_at, label.wait) == ("landed_at", timedelta(hours=36))


@pytest.mark.parametrize("kind", [int, str, Literal["one"], Literal["a", 1], list[float], None])
def test_types_without_a_task_are_mistakes(kind):
    """Any other type is a mistake, not an exception."""
    label = Label("y", kind)

    assert len(label.mistakes) == 1
    assert "gives no task" in label.mistakes[0].what


def test_all_mistakes_of_a_label_are_collected():
    """A label with four mistakes says four."""
    assert len(Label("not a name", int, known_at="", wait="soon").mistakes) == 4


@pytest.mark.parametrize(
    ("text", "margin"),
    [
        ("5%", Margin(value=0.05, relative=True)),
        ("0.01", Margin(value=0.01, relative=False)),
        (0.25, Margin(value=0.25, relative=False)),
    ],
)
def test_margin_is_a_share_or_a_number(text, margin):
    """A margin with a percent sign is a share of the champion's score, without one a number in the metric's unit."""
    assert gate(margin=text).margin == margin


@pytest.mark.parametrize(("margin", "shown"), [("5%", "5%"), ("0.5%", "0.5%"), ("100%", "100%"), (0.01, "0.01")])
def test_margin_is_shown_as_it_was_written(margin, shown):
    """A margin shows itself as people write it."""
    assert str(gate(margin=margin).margin) == shown


def test_all_mistakes_of_a_gate_are_collected():
    """Every wrong argument of a gate is a mistake, and none raises."""
    wrong = gate(metric=3, margin="wide", rule="best", on_deadline="wait", alpha=1, min_days=1)

    assert len(wrong.mistakes) == 6


def test_log_loss_of_true_and_false():
    """The loss of a probability is minus the logarithm of what was given to what happened, and finite at 0 and 1."""
    loss = log_loss(np.array([True, False, True]), np.array([0.25, 0.25, 0.0]))

    assert loss[:2] == pytest.approx(-np.log([0.25, 0.75]))
    assert loss[2] == pytest.approx(34.54, abs=0.01)


def test_log_loss_of_classes():
    """Of several classes the probability of the one that happened counts; a class that is none of them gives NaN."""
    p = np.array([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])

    loss = log_loss(np.array(["b", "a", "z"], dtype=object), p, classes=("a", "b"))

    assert loss[:2] == pytest.approx(-np.log([0.8, 0.6]))
    assert np.isnan(loss[2])


def test_errors_of_numbers():
    """Squared and absolute error are per row."""
    y, p = np.array([1.0, 2.0]), np.array([3.0, 1.0])

    assert squared_error(y, p).tolist() == [4.0, 1.0]
    assert absolute_error(y, p).tolist() == [2.0, 1.0]


def test_each_task_has_a_metric_of_its_own():
    """The first built-in metric is the task's usual one."""
    kinds = (float, bool, Literal["a", "b"])

    assert [next(iter(built_in(Label("y", kind)))) for kind in kinds] == ["squared_error", "log_loss", "log_loss"]
