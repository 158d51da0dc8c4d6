"""Models: what is predicted, from which rows, with which functions, and how it is kept fresh."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import timedelta
from inspect import cleandoc
from pathlib import Path
from typing import Any, Literal, Never, TypeVar

import polars as pl

from perene.definition.declaration import declared
from perene.definition.durations import duration
from perene.definition.features import compute_features
from perene.definition.gates import LOSS_MARGIN, SHARE_MARGIN, Gate, gate
from perene.definition.hooks import Hook, read_hook, read_options, step_hook
from perene.definition.label import Label, Task
from perene.definition.metrics import built_in, built_in_metric
from perene.definition.places import place_of_caller, place_of_function
from perene.definition.row import Row, RowSchema
from perene.definition.soundness import SLACK, unsound, youngest
from perene.definition.spelling import did_you_mean
from perene.definition.steps import Step
from perene.definition.terms import DEFAULT, RELEASE, Default, Terms, read_terms
from perene.errors import DeclarationError, Mistake

F = TypeVar("F", bound=Callable[..., Any])
Declared = Callable[..., Any] | Sequence[Callable[..., Any] | tuple[Callable[..., Any], Mapping[str, Any]]]
_DEFAULT_GATE = gate()
_SINGLE = ("source", "features", "train", "golden", "population")


def _reserved(name: str) -> Any:
    """A decorator whose name is kept for later: using it is a mistake that says so."""

    def reserved(self: Model, function: Any = None, /, *parts: object, **options: object) -> Any:
        self._mistakes.append(
            Mistake(where=place_of_caller(1), what=f".{name} is reserved for a later version", mend="take it away")
        )
        return function if callable(function) else lambda decorated: decorated

    reserved.__doc__ = f"Reserved: ``.{name}`` comes in a later version."
    return reserved


class Model:
    """One model: its Row, key, label and windows, and the functions that are its hooks.

    Nothing raises here: mistakes are collected with their file and line, and ``ensure_sound`` reports them all at
    once. Hooks are given by decorators (``@late.features``) or by arguments (``features=f``); both are the same. A
    hook receives what its parameters name.

    Args:
        name: a slug, as ``"late-arrival"``.
        row: the Row that a caller sends.
        key: the fields that say which thing a row is about; with ``at`` they identify an example.
        at: the field of the event's time.
        asked: how long before ``at`` the prediction is asked for, as ``"1h before"``.
        label: what is predicted.
        train_on, test_on: the windows of training and test rows.
        every: how often the model is retrained; None for only when asked.
        stale_after: the age at which it is stale; None for never; left out, ``test_on + 2 × wait + 2 × every``, a day
            and an hour.
        gate: what a candidate must show.
        release: ``"auto"``, or ``"review"`` by a person.
        examples: learn from the ``"source"``, the ``"log"`` of predictions with their truth, or both; the source if
            there is one.
        revisit: how far back the source is asked again, for corrections that came late.
        log_features: whether the computed features are logged too.
        max_bad: the share of bad rows in one call of the source, or of the population, that fails the run.
        offline: how often predictions of the whole population are computed and stored, and again after each release;
            None for only when asked.
        max_age: the age at which a stored prediction is not given out any more; None for never.
        fallback: ``"online"`` computes what is not stored, or too old, from the row that came with the look-up; None
            refuses it.
        latency: the budget of time, as ``"20ms"``: 95 of 100 requests of one row must be answered within it, from the
            bytes of the body to the bytes of the answer, the journal included, without the network. A candidate that
            takes longer is rejected, and ``perene check MODEL --serving`` shows where the time goes.
        canary: the steps by which a new version takes over, as ``"10% 1h, 50% 1h"``: the share of the keys that it
            answers, and for how long; then it is live. None: it goes live at once.
        watch: how long a fresh release is compared with the one before it, and taken back when it fails more often,
            misses ``latency``, or its answers jump; None for not at all.
        memory: the budget of memory, as ``"1GiB"``: what a server process may grow by (resident memory) when it loads a
            version and answers requests of 1 and 100 rows with it. A candidate that needs more is rejected.

    Once read, the arguments are attributes of their types: ``schema`` is the Row compiled, durations are timedeltas,
    ``description`` is the docstring of the file, ``line`` where the model stands, ``folder`` its project, where post
    steps find files.
    """

    schema: RowSchema
    label: Label
    folder: Path = Path()

    def __init__(  # noqa: PLR0913 - a declaration has as many parts as it has
        self,
        name: str,
        *,
        row: type[Row],
        key: str | Sequence[str],
        at: str,
        label: Label,
        train_on: str | timedelta,
        test_on: str | timedelta,
        asked: str | timedelta = "0s",
        every: str | timedelta | None = "1d",
        stale_after: str | timedelta | Default | None = DEFAULT,
        gate: Gate = _DEFAULT_GATE,
        release: Literal["auto", "review"] = "auto",
        owner: str | None = None,
        examples: Literal["source", "log", "source+log"] | None = None,
        revisit: str | timedelta | None = None,
        source: Callable[..., Any] | None = None,
        features: Callable[..., Any] | None = None,
        train: Callable[..., Any] | None = None,
        metric: Declared = (),
        slice: Declared = (),
        post: Declared = (),
        golden: Callable[..., Any] | None = None,
        log_features: bool = False,
        max_bad: str | float = "1%",
        population: Callable[..., Any] | None = None,
        offline: str | timedelta | None = None,
        max_age: str | timedelta | None = None,
        fallback: Literal["online"] | None = None,
        latency: str | timedelta | None = None,
        memory: str | int | None = None,
        canary: str | None = None,
        watch: str | timedelta | None = "6h",
        **unknown: Never,
    ) -> None:
        given = {part: value for part, value in locals().items() if part not in ("self", "unknown")}
        self.line = place_of_caller(1)
        self.description = cleandoc(sys._getframe(1).f_globals.get("__doc__") or "")
        terms, self._mistakes = read_terms(self.line, given)
        for part in unknown:
            what = f"{part} is no argument of a Model{did_you_mean(part, given)}"
            self._mistakes.append(Mistake(where=self.line, what=what))
        self._take(terms)
        self._hooks: list[Hook] = []
        self._refused: set[str] = set()
        for kind in ("source", "features", "train", "metric", "slice", "post", "golden", "population"):
            self._declare(kind, given[kind])

    # ── hooks ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def source(self, function: F) -> F:
        """``source(since, until)``: the rows whose event is in [since, until), with label and known_at."""
        return self._add("source", function)

    def features(self, function: F) -> F:
        """``features(rows)``: what the model is given of the rows; row-wise and stateless."""
        return self._add("features", function)

    def train(self, function: F) -> F:
        """``train(x, y, seed)``: anything that predicts; ``predict_proba`` for bool and classes.

        Of a ranking the rows of a group lie side by side, and ``groups`` has the number of each row's group, from 0 on:
        ``np.bincount(groups)`` are the sizes that LightGBM and XGBoost ask for.
        """
        return self._add("train", function)

    def metric(
        self,
        function: F | None = None,
        /,
        *,
        better: Literal["lower", "higher"] = "lower",
        unit: str | None = None,
        whole: bool = False,
        per: Literal["row", "group"] = "row",
        margin: str | float | None = None,
    ) -> Any:
        """``metric(y, p)``: one value per row, or one for all rows with ``whole=True`` (as AUC).

        Of a ranking with ``per="group"`` it is called for each group and gives one value. One that takes ``groups``
        (the number of each row's group, from 0 on) is called once, and gives one value for each group.
        """
        options = {"better": better, "unit": unit, "whole": whole, "per": per, "margin": margin}
        if function is None:
            return lambda decorated: self._add("metric", decorated, **options)
        return self._add("metric", function, **options)

    def slice(self, function: F) -> F:
        """``slice(rows)``: the name of the slice that each row belongs to."""
        return self._add("slice", function)

    def post(self, function: F | None = None, /, *, recheck: bool = False) -> Any:
        """``post(rows, p)``: the next step from the model's output to the answer, in the order of declaration.

        Of a ranking it is called once per group. ``post(rows, items)`` gets the group's items as a frame in their order
        (``item``: the place among ``rows``; ``score``; ``removed``, null or why it was taken out) and returns such a
        frame: the order that it has is the new one, and what it removes gets its reason there. No item may be lost.
        ``perene.post`` has ready-made ones. A step with ``recheck=True`` is done again to stored answers whenever they
        are given out, and must be the last.
        """
        if function is None:
            return lambda decorated: self._add("post", decorated, recheck=recheck)
        if isinstance(function, Step):
            return self._add_step(function)
        return self._add("post", function, recheck=recheck)

    def golden(self, function: F) -> F:
        """``golden()``: fixed rows that every candidate must answer right, with what is demanded of each answer.

        A frame of the Row's columns, with ``least`` and ``most`` (bounds of the answer; null where there is none) or
        ``answer`` (exactly this; of class probabilities, the likeliest class). A candidate that fails one is refused.
        """
        return self._add("golden", function)

    def population(self, function: F) -> F:
        """``population(at)``: whom to predict offline at a project time: a row for each thing, newest state.

        A frame of the Row's columns, a lazy one, or frames one after another where all would not fit into memory.
        """
        return self._add("population", function)

    check = _reserved("check")
    baseline = _reserved("baseline")
    calibrate = _reserved("calibrate")
    implicit = _reserved("implicit")
    lookup = _reserved("lookup")

    # ── what was declared ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def mistakes(self) -> list[Mistake]:
        """Everything that is wrong with the declaration: its arguments, its hooks, and how they fit together."""
        return [*self._mistakes, *unsound(self, self._terms)]

    def ensure_sound(self) -> None:
        """Raise DeclarationError with all mistakes, if there are any."""
        mistakes = self.mistakes
        if mistakes:
            raise DeclarationError(f"the model {self.name} is declared wrong", tuple(mistakes))

    def overridden(self, setting: str, value: Any) -> Model:
        """The model with another ``every``, ``release`` or ``stale_after``, as a project's settings may say.

        Raises:
            ValueError: the value is none for this setting.
        """
        if setting == "release":
            if value not in RELEASE:
                raise ValueError(f"{value!r} is not one of {', '.join(RELEASE)}")
            return self._with(replace(self._terms, release=value))
        span = None if value == "never" else duration(value)
        if span == timedelta(0):
            raise ValueError("must be longer than nothing")
        changed = replace(self._terms, every=span) if setting == "every" else replace(self._terms, stale_after=span)
        return self._with(changed)

    @property
    def stale_after(self) -> timedelta | None:
        """The age at which the model is stale; None for never."""
        if not isinstance(self._terms.stale_after, Default):
            return self._terms.stale_after
        return None if self.every is None else youngest(self._terms) + self.every + SLACK

    @property
    def examples(self) -> str:
        """Where examples come from: ``"source"``, ``"log"`` or ``"source+log"``."""
        return self._terms.examples or ("log" if self.source_hook is None else "source")

    @property
    def gate(self) -> Gate:
        """The gate with its metric and margin filled in: its own margin, else the metric's, else the usual one."""
        metric = self.gate_metric
        usual = LOSS_MARGIN if metric.better == "lower" else SHARE_MARGIN
        return replace(self._terms.gate, metric=metric.name, margin=self._terms.gate.margin or metric.margin or usual)

    @property
    def gate_metric(self) -> Hook:
        """The metric that decides: the one that the gate names, the only one declared, or the task's built-in one."""
        named = self._terms.gate.metric
        if named is None and self.metrics:
            return self.metrics[0]
        if named is None:
            return next(iter(built_in(self.label).values()))
        found = next((hook for hook in self.metrics if hook.name == named), None) or built_in_metric(self.label, named)
        if found is None:
            self.ensure_sound()
        assert found is not None
        return found

    def with_hooks(self, change: Callable[[Hook], Hook]) -> Model:
        """The model with each hook as ``change`` makes it: to watch them, for one."""
        other = copy(self)
        other._hooks = [change(hook) for hook in self._hooks]
        return other

    def has(self, kind: str) -> bool:
        """Whether a hook of this kind was declared, rightly or wrongly."""
        return kind in self._refused or bool(self._of_kind(kind))

    def refused(self, kind: str) -> bool:
        """Whether a hook of this kind was declared wrongly."""
        return kind in self._refused

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """All that were declared rightly, in their order."""
        return tuple(self._hooks)

    @property
    def source_hook(self) -> Hook | None:
        """The source, if there is one."""
        return next(iter(self._of_kind("source")), None)

    @property
    def features_hook(self) -> Hook:
        """The feature code."""
        return self._one("features")

    @property
    def train_hook(self) -> Hook:
        """The training code."""
        return self._one("train")

    @property
    def metrics(self) -> tuple[Hook, ...]:
        """The declared metrics, in their order."""
        return self._of_kind("metric")

    @property
    def slices(self) -> tuple[Hook, ...]:
        """The declared slices, in their order."""
        return self._of_kind("slice")

    @property
    def posts(self) -> tuple[Hook, ...]:
        """The steps from the model's output to the answer, in their order."""
        return self._of_kind("post")

    @property
    def golden_hook(self) -> Hook | None:
        """The golden rows, if there are any."""
        return next(iter(self._of_kind("golden")), None)

    @property
    def population_hook(self) -> Hook | None:
        """Whom to predict offline, if it was declared."""
        return next(iter(self._of_kind("population")), None)

    @property
    def answer_dtype(self) -> pl.DataType:
        """The type of one answer: that which the last post step names, else that of the model's raw output.

        What a removal answers instead is of that type too.
        """
        last = next((hook.answer for hook in reversed(self.posts) if not hook.removes), None)
        if last is not None:
            return last
        return pl.List(pl.Float64()) if self.label.task is Task.MULTICLASS else pl.Float64()

    def declaration(self) -> dict[str, Any]:
        """The declaration as JSON."""
        return declared(self)

    def compute_features(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The features of rows: the one way in training, serving, offline prediction and replay.

        Raises:
            DeclarationError: the feature code returned no frame, or one of another height.
        """
        return compute_features(self, rows)

    # ── how it was read ──────────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, terms: Terms) -> None:
        self._terms = terms
        self.name, self.row, self.key, self.at = terms.name, terms.row, terms.key, terms.at
        self.asked, self.train_on, self.test_on, self.revisit = (
            terms.asked,
            terms.train_on,
            terms.test_on,
            terms.revisit,
        )
        self.every, self.release, self.owner = terms.every, terms.release, terms.owner
        self.max_bad, self.log_features = terms.max_bad, terms.log_features
        self.offline, self.max_age, self.fallback = terms.offline, terms.max_age, terms.fallback
        self.latency, self.memory = terms.latency, terms.memory
        self.canary, self.watch = terms.canary, terms.watch
        if terms.schema is not None:
            self.schema = terms.schema
        if terms.label is not None:
            self.label = terms.label

    def _with(self, terms: Terms) -> Model:
        other = copy(self)
        other._take(terms)
        return other

    def __getattr__(self, name: str) -> Any:
        if name in ("schema", "label"):  # asked for, though it could not be read
            self.ensure_sound()
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"Model({self.name!r})"

    def _declare(self, kind: str, given: Any) -> None:
        """Hooks that came as arguments; a pair is a function with the options that its decorator would have."""
        for item in given if isinstance(given, list | tuple) else () if given is None else (given,):
            function, options = item if isinstance(item, tuple) and len(item) == 2 else (item, {})
            getattr(self, kind)(function, **options)

    def _add(self, kind: str, function: F, **options: Any) -> F:
        line = place_of_function(function, otherwise=self.line) if callable(function) else self.line
        options, wrong = read_options(options, line=line)
        if kind in _SINGLE and any(hook.kind == kind for hook in self._hooks):
            wrong.append(Mistake(where=line, what=f"the model has a {kind} already"))
        hook, refused = read_hook(kind, function, line=line, **options)
        if hook is not None and not wrong:
            self._hooks.append(hook)
        else:
            self._refused.add(kind)
        self._mistakes += [*wrong, *refused]
        return function

    def _add_step(self, step: Step) -> Step:
        """A ready-made post step: of what it does, that which fits the label's task."""
        hook, wrong = step_hook(step, self._terms.label)
        self._hooks += [hook] if hook is not None else []
        self._refused |= {"post"} if wrong else set()
        self._mistakes += wrong
        return step

    def _one(self, kind: str) -> Hook:
        hooks = self._of_kind(kind)
        if not hooks:
            self.ensure_sound()
        return hooks[0]

    def _of_kind(self, kind: str) -> tuple[Hook, ...]:
        return tuple(hook for hook in self._hooks if hook.kind == kind)
