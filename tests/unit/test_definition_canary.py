"""The steps of a canary, as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perene.definition.canary import read_canary


def steps(text: str, **more: object) -> list[tuple[float, timedelta]]:
    """What a text says."""
    return [(step.share, step.lasts) for step in read_canary(text, **more)]


def test_steps_are_shares_and_durations() -> None:
    """Each step says its share and how long it lasts; spaces do not matter."""
    assert steps("5% 30m,  25% 1d 12h") == [(0.05, timedelta(minutes=30)), (0.25, timedelta(hours=36))]


def test_a_share_alone_begins_there_and_goes_on_as_declared() -> None:
    """It lasts as long as the first declared step, and the larger declared ones follow; the usual ones without any."""
    declared = read_canary("5% 10m, 20% 2h, 60% 1h")

    assert steps("20%", declared=declared) == [(0.2, timedelta(minutes=10)), (0.6, timedelta(hours=1))]
    assert steps("10%") == [(0.1, timedelta(hours=1)), (0.5, timedelta(hours=1))]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not say for how long"),
        ("10", "no share|not a share"),
        ("110%", "not a share"),
        ("100% 1h", "not a share"),
        ("0% 1h", "not a share"),
        ("nan% 1h", "not a share"),
        ("10% 1h, 5% 1h", "do not rise"),
        ("10% 1h, 50%", "not say for how long"),
        ("10% soon", "not a duration"),
        ("10% 0s", "lasts no time"),
        (10, "not a text"),
    ],
)
def test_what_is_no_canary_says_why(text: object, why: str) -> None:
    """Law 11: the message names what is wrong and the form that is meant."""
    with pytest.raises(ValueError, match=why) as raised:
        read_canary(text)  # type: ignore[arg-type]

    assert "rise" in str(raised.value) or "10% 1h, 50% 1h" in str(raised.value) or "duration" in str(raised.value)
