"""Signals that ask to stop."""

from __future__ import annotations

import os
import signal

import pytest

from perene.cli.stopping import Stopping


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop_and_a_later_one_interrupts(sign):
    """The first signal lets what was begun finish; another one does not wait."""
    with Stopping(same_wish_s=0.0) as stopping:
        assert not stopping.asked
        os.kill(os.getpid(), sign)
        assert stopping.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), sign)


def test_the_same_signal_passed_on_twice_is_one_wish():
    """A wrapper that passes on what the terminal sent too does not interrupt what is finishing."""
    with Stopping(same_wish_s=60.0) as stopping:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

        assert stopping.asked


def test_what_listened_before_listens_again():
    """Afterwards the signals do what they did before."""
    before = signal.getsignal(signal.SIGTERM)

    with Stopping():
        assert signal.getsignal(signal.SIGTERM) != before

    assert signal.getsignal(signal.SIGTERM) == before
