"""What serving should reach, and what it did: goals are reported, never asserted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.serving.load import MANY, ONE, ROWS, Shape
from benchmarks.serving.project import AS_IS, CALLED, NATIVE
from benchmarks.serving.recipes import PEERS_OF
from benchmarks.serving.results import Results, Round, middle

_MINE, _MINE_OF_TWO = "perene", "perene, 2 workers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """``got`` is None where it was not measured."""

    what: str
    wanted: str
    got: float | None
    is_met: bool

    @property
    def verdict(self) -> str:
        """In a word."""
        return "not measured" if self.got is None else "met" if self.is_met else "missed"


def goals(results: Results) -> list[Goal]:
    """The goals; ratios are of one round. Peers have two workers, perene one process, or two where it says so."""
    native, as_is, called = (results.rounds(case.key) for case in (NATIVE, AS_IS, CALLED))
    found = [
        *_both("N, 64 connections: requests/s ÷ BentoML's", 12, native, lambda mine: _ahead("BentoML", MANY, mine)),
        *_both("N, 64 connections: requests/s ÷ MLflow's", 80, native, lambda mine: _ahead("MLflow", MANY, mine)),
        _least("N, 64 connections: BentoML's CPU per request ÷ perene's", 20, native, _cheaper("BentoML", MANY)),
        _least("N, 64 connections: requests/s ÷ uvicorn's echo", 0.4, native, _ahead("uvicorn echo", MANY)),
        *_both("N, 100 rows: rows/s ÷ the best peer's", 2.5, native, _ahead_of_best),
        _most("N, 1 connection: p50 above features + predict called directly, ms", 0.4, native, _above("user")),
        _most("N, 1 connection: p50 above what perene itself calls, ms", 0.4, native, _above("perene")),
        _least("P, 64 connections: requests/s ÷ BentoML's", 3, as_is, _ahead("BentoML", MANY)),
        _least("P, 1 connection: requests/s ÷ FastAPI's", 0.9, as_is, _ahead("FastAPI", ONE)),
        _least("C, 64 connections: requests/s ÷ BentoML's", 3, called, _ahead("BentoML", MANY)),
        _least("C, 1 connection: requests/s ÷ FastAPI's", 0.9, called, _ahead("FastAPI", ONE)),
    ]
    for letter, rounds in (("N", native), ("P", as_is)):
        found += [
            _most(f"{letter}, half of peak load: p99, ms", 20, rounds, lambda r: r["half"]["p99_ms"]),
            _most(f"{letter}, a swap under it: p99 ÷ that without", 3, rounds, _swapped),
            _most(f"{letter}, a swap under it: failed requests", 0, rounds, lambda r: r["swap"]["failed"]),
        ]
    return found


Get = Callable[[Round], float]


def _both(what: str, bound: float, rounds: list[Round], get: Callable[[str], Get]) -> list[Goal]:
    """The same of one process and of two."""
    told = {_MINE: "one process", _MINE_OF_TWO: "two"}
    return [_least(f"{what} ({number})", bound, rounds, get(mine)) for mine, number in told.items()]


def _least(what: str, bound: float, rounds: list[Round], get: Get) -> Goal:
    got = middle(rounds, get)
    return Goal(what=what, wanted=f"≥ {bound:g}", got=got, is_met=got is not None and got >= bound)


def _most(what: str, bound: float, rounds: list[Round], get: Get) -> Goal:
    got = middle(rounds, get)
    return Goal(what=what, wanted=f"≤ {bound:g}", got=got, is_met=got is not None and got <= bound)


def _of(one: Round, name: str, shape: Shape, field: str) -> float:
    value: float = one["load"][name][shape.name][field]
    return value


def _ahead(name: str, shape: Shape, mine: str = _MINE) -> Get:
    return lambda r: _of(r, mine, shape, "per_second") / _of(r, name, shape, "per_second")


def _cheaper(name: str, shape: Shape) -> Get:
    return lambda r: _of(r, name, shape, "cpu_ms") / _of(r, _MINE, shape, "cpu_ms")


def _ahead_of_best(mine: str) -> Get:
    def ahead(one: Round) -> float:
        best = max((_of(one, name, ROWS, "per_second") for name in PEERS_OF if name in one["load"]), default=0.0)
        return _of(one, mine, ROWS, "per_second") / best

    return ahead


def _above(way: str) -> Get:
    """Beside the user's own code, or what perene calls instead, which is quicker."""
    return lambda r: _of(r, _MINE, ONE, "p50_ms") - float(r["direct_ms"][way])


def _swapped(one: Round) -> float:
    return float(one["swap"]["p99_ms"]) / float(one["half"]["p99_ms"])
