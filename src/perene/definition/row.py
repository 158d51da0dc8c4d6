"""Rows: what a caller knows and sends, declared once, and checked the same in a request and in a million rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from functools import cached_property
from typing import Any, get_args, get_type_hints

import polars as pl
from pydantic import BaseModel, ConfigDict
from pydantic_core import SchemaValidator, ValidationError, core_schema

from perene.definition.arrivals import Frame
from perene.definition.checking import Checked, check_frame
from perene.definition.columns import MEND, Field, read_field
from perene.definition.places import place_of_class
from perene.definition.refusals import refusal
from perene.errors import BadField, BadRows, DeclarationError, Mistake

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
# Columns that perene puts beside a Row's own.
RESERVED = frozenset({"prediction_id", "key", "event_at", "label", "known_at", "part"})
MOST_BAD = 1000  # fields that are told of; with more, telling costs more than predicting
_MOST_UNKNOWN = 100  # fields of one row
_LONGEST = 200  # characters of a field's name


class Row(BaseModel):
    """What a caller knows and sends for one prediction: subclass it and declare fields; the docstring describes it.

    Unknown fields are refused, values are taken strictly (no text for a number), and numbers are finite.

        class Flight(Row):
            '''A flight that is due to leave.'''
            origin: Literal["EWR", "JFK", "LGA"]
            sched_dep: AwareDatetime
            distance: Annotated[float, Gt(0)]
            temp: float | None = None
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class PII:
    """Marks a field that says something about a person: ``name: Annotated[str, PII]``."""


@dataclass(frozen=True, slots=True)
class Log:
    """Says whether a field is logged: ``Annotated[str, Log(False)]`` never is."""

    logged: bool = True


class RowSchema:
    """A Row, compiled to check values of JSON, of Python and of whole columns alike.

    Raises:
        DeclarationError: with every field that a column cannot hold or check.
    """

    def __init__(self, row: type[Row]) -> None:
        self.row = row
        self.name = row.__name__
        self.description = (row.__doc__ or "").strip() if row.__doc__ != Row.__doc__ else ""
        fields, mistakes = _read(row)
        if mistakes:
            raise DeclarationError(f"the Row {self.name} is declared wrong", tuple(mistakes))
        self.fields: tuple[Field, ...] = tuple(fields)
        self.polars: dict[str, pl.DataType] = {field.name: field.dtype for field in fields}
        facts = json.dumps(
            [field.facts() for field in fields], sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        self.digest: str = hashlib.sha256(facts.encode()).hexdigest()

    def __reduce__(self) -> tuple[type[RowSchema], tuple[type[Row]]]:
        return RowSchema, (self.row,)

    def __getitem__(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    def __contains__(self, name: object) -> bool:
        return name in self.polars

    def parse_json(self, items: Sequence[object]) -> pl.DataFrame:
        """The rows of a request's decoded JSON, in their order.

        Raises:
            BadRows: with every bad field of every bad row, up to ``MOST_BAD``.
        """
        return self.read_json(items)[0]

    def read_json(self, items: Sequence[object]) -> tuple[pl.DataFrame, list[dict[str, object]]]:
        """The same as a frame and as plain values: instants are microseconds since 1970 in these, and dates days.

        Raises:
            BadRows: with every bad field of every bad row, up to ``MOST_BAD``.
        """
        rows = self._valid(self._json, items)
        for name, since_1970 in self._times.items():
            for row in rows:
                if (value := row[name]) is not None:
                    row[name] = since_1970(value)
        frame = pl.DataFrame(rows, schema=self._plain)
        for name in self._times:  # numbers become a column in half the time of datetimes
            frame.replace_column(frame.get_column_index(name), frame.get_column(name).cast(self.polars[name]))
        return frame, rows

    def frame(self, records: Sequence[Mapping[str, object]]) -> pl.DataFrame:
        """The rows of Python values: datetimes and dates as such, enums as members or values.

        Raises:
            BadRows: with every bad field of every bad row, up to ``MOST_BAD``.
        """
        plain = [{k: v.value if isinstance(v, Enum) else v for k, v in dict(record).items()} for record in records]
        return pl.DataFrame(self._valid(self._python, plain), schema=self.polars)

    def check(self, frame: Frame) -> Checked:
        """The good rows of a frame (polars, pandas or Arrow), and what was wrong with the others, column by column.

        Columns that the Row does not know are left out and named. A missing optional column gets its default.
        Harmless casts are
        made: narrower numbers, other time units and zones, categories to text. Times without a zone are refused.
        """
        return check_frame(frame, self.fields)

    def json_schema(self) -> dict[str, Any]:
        """The Row as JSON Schema."""
        return self.row.model_json_schema()

    @cached_property
    def _json(self) -> SchemaValidator:
        return validator(self.fields, json=True)

    @cached_property
    def _python(self) -> SchemaValidator:
        return validator(self.fields, json=False)

    @cached_property
    def _times(self) -> dict[str, Callable[[Any], int]]:
        """The fields that are times, with what counts from 1970."""
        counts = {"datetime": _microseconds, "date": _days}
        return {field.name: counts[field.kind] for field in self.fields if field.kind in counts}

    @cached_property
    def _plain(self) -> dict[str, pl.DataType]:
        """The columns of plain values: times are numbers."""
        numbers = {"datetime": pl.Int64(), "date": pl.Int32()}
        return {field.name: numbers.get(field.kind, field.dtype) for field in self.fields}

    def _valid(self, validator: SchemaValidator, items: Sequence[object]) -> list[dict[str, Any]]:
        try:
            rows: list[dict[str, Any]] = validator.validate_python(list(items))
        except ValidationError:
            raise self._refused(validator, items) from None
        return rows

    def _refused(self, validator: SchemaValidator, items: Sequence[object]) -> BadRows:
        bad: list[BadField] = []
        count = 0
        for row, item in enumerate(items):
            if len(bad) >= MOST_BAD:
                count += not validator.isinstance_python([item])
                continue
            try:
                validator.validate_python([item])
            except ValidationError as error:
                count += 1
                bad += [replace(field, row=row) for field in bad_fields(error, self.fields, [item])]
        return BadRows(
            f"{count} of {len(items)} {'row does' if count == 1 else 'rows do'} not fit {self.name}",
            tuple(bad[:MOST_BAD]),
            mend=f"send the fields that {self.name} declares, with their types",
        )


def _microseconds(value: datetime) -> int:
    return (value - _EPOCH) // _MICROSECOND


def _days(value: date) -> int:
    return value.toordinal() - _EPOCH.toordinal()


def validator(fields: Sequence[Field], *, json: bool) -> SchemaValidator:
    """pydantic's check of a list of rows with these fields, of decoded JSON or of Python."""
    members = {
        field.name: core_schema.typed_dict_field(field.validator(json=json), required=field.required)
        for field in fields
    }
    row = core_schema.typed_dict_schema(members, strict=True, extra_behavior="forbid")
    return SchemaValidator(core_schema.list_schema(row, strict=True))


def bad_fields(error: ValidationError, fields: Sequence[Field], items: Sequence[object]) -> tuple[BadField, ...]:
    """What a ``validator`` refused of the items, in their order; of one that is far too wide, only that."""
    for row, item in enumerate(items):
        if isinstance(item, Mapping) and len(item) > len(fields) + _MOST_UNKNOWN:
            what = f"the row has {len(item):,} fields, and {len(fields)} are known"
            return (BadField(row=row, field="", what=what),)
    bad = (
        BadField(
            row=int(detail["loc"][0]),
            field=str(detail["loc"][1])[:_LONGEST] if len(detail["loc"]) > 1 else "",
            what=refusal(detail, fields, items[int(detail["loc"][0])]),
        )
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return tuple(sorted(bad, key=lambda field: field.row))


def _read(row: type[Row]) -> tuple[list[Field], list[Mistake]]:
    found: list[Field] = []
    mistakes = [Mistake(where=place_of_class(row), what=f"{row.__name__} {what}") for what in _whole(row)]
    declared, definitions = _fields(row)
    hints = get_type_hints(row, include_extras=True) if declared else {}
    for name, schema in declared.items():
        logged = all(mark.logged for mark in _marks(hints.get(name), Log) if isinstance(mark, Log))
        pii = bool(list(_marks(hints.get(name), PII)))
        try:
            if name in RESERVED:
                raise ValueError(f"has a name that perene uses beside a Row's own ({', '.join(sorted(RESERVED))})")
            found.append(read_field(name, schema, definitions=definitions, logged=logged, pii=pii))
        except ValueError as error:
            mend = MEND if "type" in str(error) else ""
            mistakes.append(Mistake(where=place_of_class(row, name), what=f"{row.__name__}.{name} {error}", mend=mend))
    if not declared and not mistakes:
        mistakes.append(Mistake(where=place_of_class(row), what=f"{row.__name__} has no fields"))
    return found, mistakes


def _whole(row: type[Row]) -> Iterator[str]:
    """What is wrong with the Row as a whole."""
    for key, value in row.model_config.items():
        if value != Row.model_config.get(key) and key not in ("title", "json_schema_extra", "use_attribute_docstrings"):
            yield f"changes model_config[{key!r}]; a Row is frozen, strict and refuses unknown fields"
    if row.__pydantic_decorators__.model_validators or row.__pydantic_post_init__ or "__init__" in vars(row):
        yield "checks or changes whole rows, which cannot be done by column; check fields, or drop rows in the source"


def _fields(row: type[Row]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """pydantic's schemas of the fields, and the definitions that they share."""
    schema: Any = row.__pydantic_core_schema__
    definitions: dict[str, Any] = {}
    while schema["type"] != "model-fields":
        definitions |= {shared["ref"]: shared for shared in schema.get("definitions", [])}
        schema = definitions[schema["schema_ref"]] if schema["type"] == "definition-ref" else schema["schema"]
    return schema["fields"], definitions


def _marks(annotation: object, kind: type[PII] | type[Log]) -> Iterator[object]:
    """The markers of a kind anywhere in an annotation, given as an instance or as the class itself."""
    for part in (*get_args(annotation), *getattr(annotation, "__metadata__", ())):
        if isinstance(part, kind) or part is kind:
            yield part
        else:
            yield from _marks(part, kind)
