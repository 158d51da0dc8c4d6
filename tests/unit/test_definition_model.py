"""Models: terms, hooks, and everything that can be wrong with them."""

from datetime import timedelta
from typing import Annotated, Literal

import numpy as np
import polars as pl
import pytest
from pydantic import AwareDatetime

from perene import Label, Log, Model, Row, gate
from perene.definition.gates import LOSS_MARGIN, SHARE_MARGIN, Margin
from perene.errors import DeclarationError


class Flight(Row):
    """A flight."""

    flight: int
    origin: str
    sched_dep: AwareDatetime
    distance: float
    temp: float | None = None


def features(rows):
    return rows.select("distance")


def train(x, y, seed):
    return (x, y, seed)


def loss(y, p):
    return np.abs(y - p)


def auc(y, p):
    return 0.5


def model(**changes) -> Model:
    terms = {
        "row": Flight,
        "key": ["flight", "origin"],
        "at": "sched_dep",
        "label": Label("late", bool, known_at="landed_at", wait="36h"),
        "train_on": "365d",
        "test_on": "14d",
        "features": features,
        "train": train,
    }
    return Model(changes.pop("name", "late-arrival"), **terms | changes)


def said(made: Model) -> str:
    return "\n".join(mistake.what for mistake in made.mistakes)


def test_sound_model_has_no_mistakes():
    """A right declaration raises nothing."""
    made = model()

    made.ensure_sound()
    assert made.mistakes == []


def test_arguments_become_types():
    """Durations, shares and names are read into types."""
    made = model(asked="1h before", every="7d", revisit="14d", max_bad="2%", key="flight")

    assert (made.asked, made.every, made.revisit) == (timedelta(hours=1), timedelta(days=7), timedelta(days=14))
    assert (made.max_bad, made.key, made.train_on) == (0.02, ("flight",), timedelta(days=365))


def test_stale_after_has_a_default():
    """Left out, a model is stale after test_on + 2 × wait + 2 × every, a day and an hour."""
    assert model(every="1d").stale_after == timedelta(days=14 + 3 + 2 + 1, hours=1)


def test_stale_after_none_is_never():
    """With None, and for a model that is retrained only when asked, it is never stale."""
    assert model(stale_after=None).stale_after is None
    assert model(every=None).stale_after is None


def test_stale_after_must_leave_time_for_a_successor():
    """A stale_after that no schedule can hold is a mistake, to the microsecond."""
    least = timedelta(days=14 + 3 + 1)

    assert "stale_after=18d is not longer than" in said(model(stale_after=least))
    assert model(stale_after=least + timedelta(microseconds=1)).mistakes == []


def test_decorators_and_arguments_are_the_same():
    """Hooks by decorator give the declaration that hooks by argument give, and return the function unchanged."""
    by_argument = model(metric=[(auc, {"better": "higher", "whole": True}), loss], gate=gate(metric="auc"))
    decorated = model(features=None, train=None, gate=gate(metric="auc"))
    assert decorated.features(features) is features
    assert decorated.train(train) is train
    assert decorated.metric(better="higher", whole=True)(auc) is auc
    assert decorated.metric(loss) is loss

    assert decorated.declaration() == by_argument.declaration()
    assert decorated.mistakes == by_argument.mistakes == []


def test_every_mistake_is_reported_at_once_with_its_line():
    """All wrong arguments, hooks and misfits come in one error, each at the line of the Model or the hook."""
    wrong = model(
        name="Late Arrival",
        key=["flihgt"],
        at="origin",
        label=Label("temp", int),
        train_on="long",
        every="0s",
        release="atuo",
        examples="logs",
        owner=3,
        max_bad="lots",
        gate=gate(alpha=2),
        features=lambda row: row,
    )

    with pytest.raises(DeclarationError) as refused:
        wrong.ensure_sound()

    text = str(refused.value)
    for part in (
        "the model's name 'Late Arrival'",
        "key names 'flihgt', which is no field of Flight; did you mean flight?",
        'at="origin" is not an instant',
        "the label's type int gives no task",
        "temp is known only after the prediction",
        "train_on: 'long' is not a duration",
        "every='0s' must be longer than nothing",
        "release='atuo' is not one of auto, review; did you mean auto?",
        "examples='logs' is not one of",
        "owner=3 is not a text",
        "max_bad='lots' is not a share",
        "gate(alpha=2) is not a number",
        "features <lambda> asks for row",
    ):
        assert part in text
    assert all(
        mistake.where.partition(":")[0].endswith("test_definition_model.py") for mistake in refused.value.mistakes
    )


def test_mistake_of_a_hook_stands_at_the_hook():
    """A hook's mistake names the hook's own line, not the model's."""
    made = model(metric=lambda y: y)

    assert made.mistakes[0].where != made.line


def test_missing_hooks_are_mistakes():
    """A model without features or train says both; one with a wrong one does not say that it is missing."""
    assert said(model(features=None, train=None)) == "the model has no features\nthe model has no train"
    assert "has no features" not in said(model(features=lambda row: row))


def test_second_hook_of_a_single_kind_is_a_mistake():
    """A model has one train function."""
    made = model()
    made.train(train)

    assert said(made) == "the model has a train already"


def test_two_hooks_of_one_name_are_a_mistake():
    """Metrics, slices and post steps are told apart by their names."""
    assert "2 hooks of kind slice are called features" in said(model(slice=[features, features]))


@pytest.mark.parametrize("name", ["check", "baseline", "calibrate", "implicit", "lookup"])
def test_reserved_hooks_say_so(name):
    """A reserved decorator is a mistake that says so, used bare or with options, and returns the function."""
    made = model()

    assert getattr(made, name)(features) is features
    assert getattr(made, name)(by="origin", window="14d")(features) is features
    assert said(made) == "\n".join([f".{name} is reserved for a later version"] * 2)


def test_wrong_row_label_and_gate_do_not_raise():
    """Arguments of quite another kind are mistakes too."""
    made = model(row=dict, label="late", gate="5%", key=5)

    assert "row=<class 'dict'> is not a subclass of Row" in said(made)
    assert "label='late' is not a Label" in said(made)
    assert "gate='5%' is not a Gate" in said(made)
    assert "key=5 is not a list of fields" in said(made)


def test_asking_an_unsound_model_for_its_schema_says_why():
    """The schema of a model whose Row is wrong is asked for in vain, with the mistakes."""
    with pytest.raises(DeclarationError, match="late-arrival is declared wrong"):
        _ = model(row=dict).schema


def test_key_and_time_must_be_there_always():
    """Key and time fields are neither null nor float nor unlogged."""

    class Loose(Row):
        who: str | None
        size: float
        secret: Annotated[str, Log(False)]
        at: AwareDatetime | None

    text = said(model(row=Loose, key=["who", "size", "secret"], at="at", source=lambda since, until: None))

    assert "the key field who may be null" in text
    assert "the key field size is a float" in text
    assert "the key field secret is Log(False)" in text
    assert "the at field at may be null" in text


def test_label_and_its_time_may_not_be_fields():
    """What is known only after the prediction may not be a field of the Row."""
    text = said(model(label=Label("distance", float, known_at="temp")))

    assert "distance is known only after the prediction" in text
    assert "temp is known only after the prediction" in text


def test_unlogged_fields_cannot_be_learnt_from_the_log():
    """A model that learns from its log may not have fields that are not logged; one with a source may."""

    class Private(Row):
        flight: int
        sched_dep: AwareDatetime
        name: Annotated[str, Log(False)]

    source = {"source": lambda since, until: None}

    assert "Private.name is Log(False), but the model learns from its log" in said(model(row=Private, key="flight"))
    assert model(row=Private, key="flight", **source).mistakes == []


def test_a_model_does_not_log_features_of_what_is_not_logged():
    """What is computed from a field that may not be logged may show it."""

    class Private(Row):
        flight: int
        sched_dep: AwareDatetime
        name: Annotated[str, Log(False)]

    text = said(model(row=Private, key="flight", log_features=True))

    assert "Private.name is Log(False), but log_features would log what comes of it" in text


def test_examples_come_from_the_source_if_there_is_one():
    """Without a word, examples come from the source, and from the log where there is none."""
    assert model().examples == "log"
    assert model(source=lambda since, until: None).examples == "source"
    assert 'examples="source", but the model has no source' in said(model(examples="source"))


def test_test_window_must_hold_the_days_that_the_gate_needs():
    """A test window that can never decide is a mistake."""
    assert "test_on=3d has fewer days than the 7" in said(model(test_on="3d"))
    assert model(test_on="3d", gate=gate(min_days=3)).mistakes == []


def test_gate_takes_the_built_in_metric():
    """Without a metric, the task's built-in one decides, with a margin of 5 %."""
    made = model()

    assert (made.gate.metric, made.gate.margin, made.gate_metric.better) == ("log_loss", LOSS_MARGIN, "lower")
    assert model(label=Label("delay", float)).gate.metric == "squared_error"


def test_built_in_metric_knows_the_classes():
    """The built-in loss of classes reads the columns in the label's order."""
    made = model(label=Label("port", Literal["b", "a"]))

    losses = made.gate_metric(y=np.array(["a", "b"], dtype=object), p=np.array([[0.2, 0.8], [0.5, 0.5]]))

    assert losses == pytest.approx(-np.log([0.8, 0.5]))


def test_only_metric_decides():
    """A model's only metric decides without being named; of several the gate must name one."""
    assert model(metric=loss).gate.metric == "loss"
    assert "does not say which decides" in said(model(metric=[loss, auc]))
    assert model(metric=[loss, auc], gate=gate("auc")).gate.metric == "auc"
    assert "did you mean loss?" in said(model(metric=loss, gate=gate("los")))


def test_margin_comes_from_the_gate_then_the_metric_then_custom():
    """The gate's margin wins over the metric's, which wins over the usual one of its direction."""
    small = [(loss, {"margin": 0.25})]

    assert model(metric=small, gate=gate(margin="1%")).gate.margin == Margin(value=0.01, relative=True)
    assert model(metric=small).gate.margin == Margin(value=0.25, relative=False)
    assert model(metric=[(auc, {"better": "higher"})]).gate.margin == SHARE_MARGIN


def test_wrong_options_of_a_metric_are_mistakes():
    """A metric's wrong direction and margin are mistakes."""
    text = said(model(metric=[(loss, {"better": "up", "margin": "0%"})]))

    assert "better='up' is not one of lower, higher" in text
    assert "margin='0%' is not positive" in text


def test_only_the_last_step_may_change_the_answers_type():
    """A step before the last that names another type of answer is a mistake."""

    def word(p) -> list[str]: ...
    def bounds(p): ...

    assert "only the last step may change the answer's type" in said(model(post=[word, bounds]))
    assert model(post=[bounds, word]).mistakes == []


def test_answer_type_follows_task_and_last_step():
    """An answer is a number, a list of probabilities, or what the last step names."""

    def word(p) -> list[str]: ...

    assert model().answer_dtype == pl.Float64
    assert model(label=Label("port", Literal["a", "b"])).answer_dtype == pl.List(pl.Float64)
    assert model(post=word).answer_dtype == pl.String


def test_settings_change_a_copy():
    """Another schedule, release or age gives another model and leaves the declared one alone."""
    made = model()

    changed = made.overridden("every", "7d").overridden("release", "review").overridden("stale_after", "never")

    assert (changed.every, changed.release, changed.stale_after) == (timedelta(days=7), "review", None)
    assert (made.every, made.release) == (timedelta(days=1), "auto")
    with pytest.raises(ValueError, match=r"did you mean|not one of"):
        made.overridden("release", "yes")


def test_declaration_is_json_without_lines():
    """The declaration is plain JSON that moving the model in its file does not change."""
    import json

    terms = {"row": Flight, "key": ["flight"], "at": "sched_dep", "label": Label("late", bool), "train_on": "9d"}
    hooks = {"test_on": "7d", "features": features, "train": train}

    one = Model("late-arrival", **terms, **hooks)
    other = Model("late-arrival", **terms, **hooks)

    assert one.line != other.line
    assert json.dumps(one.declaration()) == json.dumps(other.declaration())


def test_durations_are_declared_in_seconds():
    """No duration of a declaration is a text, and one that never ends is null."""
    label = Label("late", bool, wait="36h")
    declared = model(label=label, train_on="365d", every=None, asked="1h before").declaration()

    assert (declared["label"]["wait"], declared["train_on"], declared["asked"]) == (129_600, 31_536_000, 3_600)
    assert (declared["every"], declared["stale_after"]) == (None, None)


def test_metric_order_does_not_matter_for_names():
    """Hooks keep the order of their declaration."""
    made = model(metric=[loss, auc], slice=[features], gate=gate("loss"))

    assert [hook.name for hook in made.metrics] == ["loss", "auc"]
    assert [hook.name for hook in made.slices] == ["features"]


def test_training_rows_must_be_able_to_have_their_labels():
    """A window of training rows that is not longer than their wait is always empty."""
    assert "train_on=36h is not longer than the label's wait=36h" in said(model(train_on="36h"))
    assert model(train_on="37h").mistakes == []


def test_an_unknown_argument_is_a_mistake_among_the_others():
    """A misspelt argument is named with the one that was meant, and hides nothing else."""
    made = model(evry="1d", key=["ordr"])

    assert "evry is no argument of a Model; did you mean every?" in said(made)
    assert "ordr" in said(made)
