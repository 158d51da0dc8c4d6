"""Every error that perene raises.

    PereneError
    ├── DeclarationError      a Model, Row, Label or hook is declared wrong       (usage)
    ├── SettingsError         perene.toml, an environment variable or a flag       (usage)
    ├── NotFound              no such model, version, release, run, prediction …
    ├── Conflict              it exists already, or with another content
    ├── NotAllowed            the state of things (or a person) forbids it
    ├── BadRows               rows that do not fit their Row or label
    ├── DataError             a dataset cannot be built, or is not what it was
    ├── TrainingError         train() failed, or what it returned cannot be used
    ├── BundleError           a model version's files are not what the database says
    ├── StorageError          the database, the tables or the disk
    ├── ServingError          a prediction could not be made or logged
    └── LostLease             another worker took this run over

Each has the same four parts in Python, on the command line, over HTTP and in the console: ``code`` (stable,
kebab-case), ``what`` happened, ``why``, and how to ``mend`` it.
"""

from __future__ import annotations

from dataclasses import dataclass


class PereneError(Exception):
    """An error with what happened, why, and how to mend it.

    ``seen`` holds the facts that it rests on, one line each. Exit codes and HTTP statuses are the doors' business.
    """

    code = "unexpected"

    def __init__(
        self, what: str, *, why: str = "", mend: str = "", seen: tuple[str, ...] = (), code: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.mend = mend
        self.seen = seen
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        parts = [self.what, *(f"{name}: {text}" for name, text in (("why", self.why), ("mend", self.mend)) if text)]
        return "\n  ".join([*parts[:2], *(f"seen: {line}" for line in self.seen), *parts[2:]])

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what), self.__dict__


def _rebuild(kind: type[PereneError], what: str) -> PereneError:
    """Unpickle an error that crossed a process border; its parts come after it."""
    error = kind.__new__(kind)
    PereneError.__init__(error, what)
    return error


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One mistake in something that a user wrote: where it stands, what is wrong, how to mend it."""

    where: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.mend})" if self.mend else "")


_MEND_EACH = "mend each of them, then perene check"


class _MistakesError(PereneError):
    """All mistakes of one text at once."""

    def __init__(self, what: str, mistakes: tuple[Mistake, ...], *, mend: str = _MEND_EACH) -> None:
        super().__init__(what, seen=tuple(str(m) for m in mistakes), mend=mend)
        self.mistakes = mistakes


class DeclarationError(_MistakesError):
    """A Model, Row, Label, gate or hook is declared wrong; all its mistakes, each with its file and line."""

    code = "declaration"


class SettingsError(_MistakesError):
    """A setting is wrong; all mistakes, each with its dotted key."""

    code = "settings"


class NotFound(PereneError):
    """There is no such thing."""

    code = "not-found"


class Conflict(PereneError):
    """It exists already, or with another content."""

    code = "conflict"


class NotAllowed(PereneError):
    """The state of things, or a person's decision, forbids it."""

    code = "not-allowed"


class DataError(PereneError):
    """A dataset cannot be built, or is not what it was."""

    code = "data"


class TrainingError(PereneError):
    """train() failed, or what it returned cannot be used."""

    code = "training-failed"


class BundleError(PereneError):
    """The files of a model version are not what the database says they are."""

    code = "bundle-changed"


class StorageError(PereneError):
    """The database, a table or the disk failed."""

    code = "storage"


class ServingError(PereneError):
    """A prediction could not be made or logged."""

    code = "serving"


class LostLease(PereneError):
    """Another worker took this run over; what this one did since is dropped."""

    code = "lost-lease"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadField:
    """One field of one row that was refused. ``row`` counts from 0 in the order sent; ``field`` is "" for the whole
    row."""

    row: int
    field: str
    what: str


class BadRows(PereneError):
    """Rows that do not fit their Row or label; each bad row and field is named."""

    code = "bad-rows"

    def __init__(self, what: str, fields: tuple[BadField, ...], *, why: str = "", mend: str = "") -> None:
        shown = tuple(f"row {f.row}{', ' + f.field if f.field else ''}: {f.what}" for f in fields[:10])
        if len(fields) > len(shown):
            shown = (*shown, f"and {len(fields) - len(shown)} more")
        super().__init__(what, why=why, mend=mend, seen=shown)
        self.fields = fields
