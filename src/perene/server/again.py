"""Answers that are given again: what must hold whenever an answer is given out is looked at anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import polars as pl

from perene.definition.items import Items
from perene.definition.label import Task
from perene.definition.model import Model
from perene.definition.posts import given_to_posts, remove_rows
from perene.definition.ranks import redo_ranks
from perene.server.given import Given, Logged


def hold_again(
    model: Model, rows: pl.DataFrame, given: Mapping[int, Given], request_of: Sequence[int]
) -> dict[int, Given]:
    """What was answered before to rows with the caller's ids, without what a step now takes out (``recheck``).

    ``given`` are the rows with ids, by place; ``request_of`` says for each place of which request it is: the rows of a
    ranking are one group there.
    """
    before = {place: known.logged for place, known in given.items() if known.logged is not None}
    if not before or not any(hook.recheck for hook in model.posts):
        return dict(given)
    redo = _ranked if model.label.task is Task.RANKING else _single
    held = dict(given)
    for _, group in groupby(sorted(before), key=lambda place: request_of[place]):
        places = list(group)
        answers = redo(model, rows[places], [before[place] for place in places])
        held |= {place: replace(given[place], logged=now) for place, now in zip(places, answers, strict=True)}
    return held


def _single(model: Model, rows: pl.DataFrame, before: Sequence[Logged]) -> list[Logged]:
    final = np.empty(len(before), dtype=object)
    final[:] = [logged.prediction for logged in before]
    steps, removed = remove_rows(model, rows, final, again=True)
    answers = steps[-1] if steps else final
    return [
        logged if reason is None else replace(logged, prediction=answer, removed=reason)
        for logged, answer, reason in zip(before, answers, removed, strict=True)
    ]


def _ranked(model: Model, rows: pl.DataFrame, before: Sequence[Logged]) -> list[Logged]:
    order = np.argsort([len(before) + 1 if logged.rank is None else logged.rank for logged in before], kind="stable")
    scores = np.asarray([logged.prediction for logged in before], dtype=np.float64)
    reasons = np.empty(len(before), dtype=object)
    reasons[:] = [logged.removed for logged in before]
    items = redo_ranks(model, Items(order, scores[order], reasons[order]), given_to_posts(model, rows))
    held, rank = list(before), 0
    for place, score, reason in zip(items.item.tolist(), items.score.tolist(), items.removed.tolist(), strict=True):
        rank += reason is None
        held[place] = replace(before[place], prediction=score, rank=rank if reason is None else None, removed=reason)
    return held
