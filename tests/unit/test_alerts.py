"""Alerts: one fires per model and rule, counted; its end is audited."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perene.records.alert import Alert
from perene.repositories.alerts import Alerts
from perene.repositories.audits import Audits

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def alerts(database) -> Alerts:
    """The alerts of a project."""
    return Alerts(database)


def fire(alerts: Alerts, model: str | None = "m", rule: str = "run-failed", *, hour: int = 0, what: str = "x") -> Alert:
    at = START + timedelta(hours=hour)
    return alerts.raise_(model, rule, severity="notice", what=what, why="w", mend="do", at=at)


def test_an_alert_tells_what_was_raised(alerts) -> None:
    """It fires since its first cause, with its words."""
    made = fire(alerts, what="run 3 failed")

    assert (made.model, made.rule, made.severity, made.state) == ("m", "run-failed", "notice", "firing")
    assert (made.what, made.why, made.mend, made.count) == ("run 3 failed", "w", "do", 1)
    assert (made.first_at, made.last_at, made.resolved_at) == (START, START, None)
    assert alerts.list() == [made]


def test_a_cause_that_comes_again_is_counted(alerts) -> None:
    """There is one alert, which tells its newest cause and how bad that is, and when the first came."""
    first = fire(alerts, what="run 3 failed")
    later = START + timedelta(hours=5)
    again = alerts.raise_("m", "run-failed", severity="page", what="run 4 failed", at=later)

    assert (again.id, again.count) == (first.id, 2)
    assert (again.what, again.why, again.mend, again.severity) == ("run 4 failed", "", "", "page")
    assert (again.first_at, again.last_at) == (START, later)
    assert alerts.list() == [again]


def test_each_model_and_rule_has_its_own_alert(alerts) -> None:
    """One of the whole project stands beside those of its models."""
    pairs = [("m", "a"), ("m", "b"), ("n", "a"), (None, "a")]

    made = [fire(alerts, model, rule) for model, rule in pairs]

    assert len({alert.id for alert in made}) == len({alert.fingerprint for alert in made}) == 4
    assert {(alert.model, alert.rule) for alert in alerts.list(state="firing")} == set(pairs)


def test_an_alert_that_is_resolved_can_fire_again(alerts) -> None:
    """A cause that comes back is a new alert; the old one keeps its count and its end."""
    fire(alerts)
    fire(alerts)
    ended = START + timedelta(hours=1)

    was_firing = alerts.resolve("m", "run-failed", at=ended)
    again = fire(alerts, hour=2)

    assert was_firing
    new, old = alerts.list()
    assert (new, new.count, new.first_at) == (again, 1, START + timedelta(hours=2))
    assert (old.state, old.count, old.resolved_at) == ("resolved", 2, ended)


def test_what_does_not_fire_is_not_resolved(alerts, database) -> None:
    """Resolving nothing, or once more, says so and leaves no line in the audit log."""
    fire(alerts, "n")
    nothing = alerts.resolve("m", "run-failed", at=START)
    alerts.resolve("n", "run-failed", at=START)
    again = alerts.resolve("n", "run-failed", at=START + timedelta(hours=1))

    assert (nothing, again) == (False, False)
    assert [line.object for line in Audits(database).list()] == ["model n"]
    assert alerts.list()[0].resolved_at == START


@pytest.mark.parametrize(("model", "about"), [("m", "model m"), (None, "project")])
def test_an_end_is_audited(alerts, database, model, about) -> None:
    """Law 7: who ended an alert, when and why."""
    fire(alerts, model)
    alerts.resolve(model, "run-failed", at=START, actor="ana", why="mended")

    (line,) = Audits(database).list(about=about)
    assert (line.verb, line.actor, line.why, line.at, line.after) == (
        "resolve",
        "ana",
        "mended",
        START,
        {"rule": "run-failed"},
    )


def test_alerts_are_listed_by_their_newest_cause(alerts) -> None:
    """The newest cause comes first; a state, a model or a length narrows the list."""
    fire(alerts, rule="a", hour=0)
    fire(alerts, "n", rule="b", hour=1)
    fire(alerts, rule="c", hour=2)
    fire(alerts, rule="a", hour=3)
    alerts.resolve("n", "b", at=START)

    assert [alert.rule for alert in alerts.list()] == ["a", "c", "b"]
    assert [alert.rule for alert in alerts.list(state="firing")] == ["a", "c"]
    assert [alert.rule for alert in alerts.list(state="resolved", model="n")] == ["b"]
    assert [alert.rule for alert in alerts.list(model="m", limit=1)] == ["a"]


def all_at_once(deeds: list[Callable[[], object]]) -> None:
    gate = threading.Barrier(len(deeds))

    def act(deed: Callable[[], object]) -> None:
        gate.wait()
        deed()

    threads = [threading.Thread(target=act, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_many_that_raise_at_once_are_counted_once_each(alerts, database, beside) -> None:
    """Eight processes with connections of their own that raise at one moment make one alert that counts eight."""
    others = [beside(database) for _ in range(8)]

    all_at_once([lambda db=db: fire(Alerts(db)) for db in others])

    assert [(alert.state, alert.count) for alert in alerts.list()] == [("firing", 8)]


def test_raising_and_resolving_at_once_lose_nothing(alerts, database, beside) -> None:
    """Whatever comes first: at most one fires, and the counts of all alerts are the causes that came."""
    others = [beside(database) for _ in range(8)]
    raising = [lambda db=db: [fire(Alerts(db)) for _ in range(5)] for db in others[:4]]
    resolving = [lambda db=db: [Alerts(db).resolve("m", "run-failed", at=START) for _ in range(5)] for db in others[4:]]

    all_at_once([*raising, *resolving])

    assert sum(alert.count for alert in alerts.list()) == 20
    assert len(alerts.list(state="firing")) <= 1


@given(st.lists(st.tuples(st.sampled_from(["raise", "resolve"]), st.sampled_from(["m", None])), max_size=20))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_alerts_tell_what_a_dict_tells(emptied, deeds) -> None:
    """In any order of causes and ends: what fires, how often it came, and how many have ended."""
    alerts = Alerts(emptied())
    firing: dict[str | None, int] = {}
    ended = 0
    for verb, model in deeds:
        if verb == "raise":
            firing[model] = firing.get(model, 0) + 1
            assert fire(alerts, model).count == firing[model]
        else:
            assert alerts.resolve(model, "run-failed", at=START) == (model in firing)
            ended += firing.pop(model, 0) > 0

    assert {alert.model: alert.count for alert in alerts.list(state="firing")} == firing
    assert len(alerts.list(state="resolved")) == ended
