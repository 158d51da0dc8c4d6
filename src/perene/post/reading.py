"""What a step reads of each row: a field, an expression over the fields, or a function of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perene.definition.frames import vector_back
from perene.definition.row import RowSchema
from perene.definition.steps import Wrong, named
from perene.errors import ServingError

Read: TypeAlias = str | pl.Expr | Callable[..., Any]
_GIVEN = ("rows", "p")


@dataclass(frozen=True, slots=True)
class Reading:
    """One value per row, read in one of three ways; ``argument`` is how the step calls it.

    A function gets what its parameters name: ``rows`` (a polars frame of the Row's fields), ``p`` (the outputs).
    """

    argument: str
    read: Read

    def __call__(self, rows: pl.DataFrame, p: NDArray[np.float64]) -> pl.Series:
        """The values of rows. Raises ServingError where a function gives another number of them."""
        if isinstance(self.read, str):
            return rows[self.read]
        if isinstance(self.read, pl.Expr):
            return rows.with_columns(self.read.alias("__read"))["__read"]
        available = {"rows": rows, "p": p}
        given = self.read(**{name: available[name] for name in _parameters(self.read)})
        values = given if isinstance(given, pl.Series) else pl.Series(vector_back(given))
        if len(values) != rows.height:
            what = f"{self.shown()} returned {len(values)} values for {rows.height} rows"
            raise ServingError(what, mend="return one value for each row")
        return values

    def flags(self, rows: pl.DataFrame, p: NDArray[np.float64]) -> list[bool]:
        """The values as true and false; what is not known is false."""
        values = self(rows, p)
        if values.dtype != pl.Boolean:
            raise ServingError(
                f"{self.shown()} gives {values.dtype}, not true or false", mend="compare it: pl.col(…) > …"
            )
        return [flag is True for flag in values.to_list()]

    def numbers(self, rows: pl.DataFrame, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values as numbers, true as 1; what is not known is NaN."""
        values = self(rows, p)
        if not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
            raise ServingError(f"{self.shown()} gives {values.dtype}, not numbers", mend="read a number")
        return values.cast(pl.Float64).to_numpy().astype(np.float64)

    def shown(self) -> str:
        """It in one line, as a declaration tells it."""
        if isinstance(self.read, str | pl.Expr):
            return str(self.read)
        plain = inspect.unwrap(self.read)
        return f"{getattr(plain, '__module__', '')}:{getattr(plain, '__qualname__', type(plain).__qualname__)}"

    def wrong(self) -> Iterator[Wrong]:
        """What is wrong with it alone."""
        if isinstance(self.read, str | pl.Expr):
            return
        try:
            parameters = _parameters(self.read)
        except (TypeError, ValueError):
            what = f"has {self.argument}={self.read!r}, which is no field, expression or function"
            yield what, f'{self.argument}="field", or pl.col("field") > 0, or a function of rows'
            return
        for name in parameters:
            if name not in _GIVEN:
                yield f"asks for {name} in {self.argument}, but can have rows and p", "lambda rows: rows[…]"

    def misfits(self, schema: RowSchema, *, kind: str = "") -> Iterator[Wrong]:
        """What does not fit a Row: fields that it does not have, or, where they are named, of another kind."""
        fields = [self.read] if isinstance(self.read, str) else []
        if isinstance(self.read, pl.Expr):
            fields = self.read.meta.root_names()
        yield from named(schema, *fields)
        if not isinstance(self.read, str) or self.read not in schema:
            return
        dtype = schema.polars[self.read]
        is_flag, is_number = dtype == pl.Boolean, dtype.is_numeric()
        if (kind == "flags" and not is_flag) or (kind == "numbers" and not (is_flag or is_number)):
            words = "true or false" if kind == "flags" else "a number"
            yield f"needs {words} in {self.argument}, but {self.read} is {schema[self.read].expected()}", ""


def _parameters(function: Callable[..., Any]) -> list[str]:
    signature = inspect.signature(function)
    return [p.name for p in signature.parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
