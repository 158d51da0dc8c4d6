"""Golden rows: fixed requests whose answers every candidate must get right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

from perene.definition.hooks import Hook
from perene.definition.model import Model
from perene.pipelines.contests import CannotJudge, closed
from perene.pipelines.predictor import Predictor
from perene.records.verdict import Check, Decision

NAME = "golden rows"
_SHOWN = 3
_DEMANDS = ("least", "most", "answer")


def check_golden(model: Model, candidate: Predictor) -> Check | None:
    """Ask the candidate for the golden rows; an answer that is not as demanded refuses it. None where there are none.

    Raises:
        CannotJudge: the rows are not what they must be, or the candidate cannot answer them.
    """
    hook = model.golden_hook
    if hook is None:
        return None
    demands, rows = golden_rows(model, hook)
    with closed(f"the candidate v{candidate.version.version} cannot answer the golden rows"):
        answers = _answers(model, candidate, rows)
    wrong = list(_wrong(demands, answers))
    digest = hashlib.sha256(demands.write_json().encode()).hexdigest()[:12]
    if not wrong:
        said = f"all {demands.height} golden rows are answered as demanded (digest {digest})"
        return Check(name=NAME, decision=Decision.PASS, reason=said)
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    told = (
        f"{len(wrong)} of {demands.height} golden rows are not answered as demanded: {'; '.join(wrong[:_SHOWN])}{more}"
    )
    return Check(name=NAME, decision=Decision.REFUSED, reason=f"{told} (digest {digest})")


def judged_golden(model: Model, load: Callable[[], Predictor]) -> Check | None:
    """The same of a version that is loaded where there are golden rows; what cannot be judged is refused, and said."""
    if model.golden_hook is None:
        return None
    try:
        return check_golden(model, load())
    except CannotJudge as error:
        return Check(name=NAME, decision=Decision.REFUSED, reason=str(error))


def golden_rows(model: Model, hook: Hook) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is demanded, and the rows of whose answers. Raises CannotJudge where they are not what they must be."""
    with closed(f"golden {hook.name} failed"):
        demands: pl.DataFrame = hook()
        return demands, _rows(model, demands, hook.name)


def _rows(model: Model, demands: pl.DataFrame, name: str) -> pl.DataFrame:
    asked = [demand for demand in _DEMANDS if demand in demands.columns]
    if not demands.height:
        raise CannotJudge(f"golden {name} gives no row")
    if not asked:
        raise CannotJudge(f"golden {name} demands nothing: give a column least, most or answer")
    for demand in asked:
        wanted = "one value each" if demand == "answer" else "numbers"
        if not _is_demand(demands[demand].dtype, numbers=demand != "answer"):
            raise CannotJudge(f"golden {name} gives {demand} as {demands[demand].dtype}, not as {wanted}")
    if all(demands[demand].null_count() == demands.height for demand in asked):
        raise CannotJudge(f"golden {name} demands nothing of any row")
    checked = model.schema.check(demands.drop(asked))
    if checked.bad:
        told = "; ".join(f"{bad.field} {bad.what} ({bad.rows} rows)" for bad in checked.bad)
        raise CannotJudge(f"golden {name} gives rows that do not fit {model.schema.name}: {told}")
    if checked.extra:
        raise CannotJudge(f"golden {name} gives columns that {model.schema.name} does not know: {checked.extra[0]}")
    return checked.good


def _is_demand(kind: pl.DataType, *, numbers: bool) -> bool:
    if kind.is_numeric() or kind == pl.Null:
        return True
    return not numbers and kind in (pl.Boolean, pl.String, pl.Categorical, pl.Enum)


def _answers(model: Model, candidate: Predictor, rows: pl.DataFrame) -> list[object]:
    """What a caller would get; of class probabilities the likeliest class, and of what are none these themselves."""
    final = candidate.predict(rows).final
    classes = model.label.classes
    if final.shape[1:] != (len(classes),):
        return list(final.tolist())
    return [classes[p.argmax()] if np.isfinite(p).all() else p.tolist() for p in final]


def _wrong(demands: pl.DataFrame, answers: list[object]) -> Iterator[str]:
    for number, (demand, answer) in enumerate(zip(demands.iter_rows(named=True), answers, strict=True), start=1):
        least, most, exact = (demand.get(name) for name in _DEMANDS)
        if exact is not None and answer != exact:
            yield f"row {number} gives {answer}, not {exact}"
        elif least is not None and not _number(answer) >= least:
            yield f"row {number} gives {_number(answer):.4g}, less than {least:g}"
        elif most is not None and not _number(answer) <= most:
            yield f"row {number} gives {_number(answer):.4g}, more than {most:g}"


def _number(answer: object) -> float:
    if not isinstance(answer, int | float):
        raise CannotJudge(f"a golden row is answered {answer!r}; demand it by a column answer, not least or most")
    return float(answer)
