"""The relational schema: everything small, relational and transactional.

Every constraint is named (see ``NAMES``), so that migrations can find it on both dialects. Instants are UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from perene.records.serving import COUNTED

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Instant(sa.types.TypeDecorator[datetime]):
    """A point in time: aware and UTC in Python on every dialect; a naive one is refused. Microseconds are kept."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse naive times; SQLite gets UTC without an offset, so that its texts sort."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"an instant needs a time zone: {value!r}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Give UTC back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Prose(sa.types.TypeDecorator[str]):
    """What people and errors say. What PostgreSQL cannot keep of it, NUL and half characters, becomes a mark."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """The same on every dialect."""
        return None if value is None else value.replace("\0", "\ufffd").encode(errors="replace").decode()


metadata = sa.MetaData(naming_convention=NAMES)
_Json = sa.JSON(none_as_null=True)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, sa.Identity(), primary_key=True)


def _model(*, primary_key: bool = False, index: bool = False) -> sa.Column[str]:
    name = sa.ForeignKey("model.name")
    return sa.Column("model", sa.String, name, nullable=False, primary_key=primary_key, index=index)


project_clock = sa.Table(
    "project_clock",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True),
    sa.Column("project_at", Instant, nullable=False),
    sa.Column("machine_at", Instant, nullable=False),
    sa.Column("speed", sa.Float, sa.CheckConstraint("speed >= 0", name="speed_positive"), nullable=False),
)

model = sa.Table(
    "model",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("declaration", _Json, nullable=False),
    sa.Column("champion", sa.Integer),  # the version that shall be live; the ledger says since when and why
    sa.Column("held_at", Instant),
    sa.Column("held_by", Prose),
    sa.Column("held_why", Prose),
    # what servers follow beside the champion
    sa.Column("canary", sa.Integer),
    sa.Column("canary_share", sa.Float, nullable=False, default=0.0),
    sa.Column("shadow", sa.Integer),
    sa.Column("shadow_since", Instant),
    sa.Column("former", sa.Integer),  # live before the champion; kept while that is watched
    sa.Column("watched_until", Instant),
)

# Every append to a log gets a number before it is written and is committed or void after (DESIGN §3). `source` makes
# a repeat the same append.
ingest = sa.Table(
    "ingest",
    metadata,
    _id(),
    _model(),
    sa.Column("log", sa.String, nullable=False),  # predictions, ground_truth, examples
    sa.Column("source", sa.String, nullable=False),  # "run:12:collect:2013-03-01", "journal:<writer>:<number>" …
    sa.Column(
        "state", sa.String, sa.CheckConstraint("state IN ('open', 'committed', 'void')", name="state"), nullable=False
    ),
    sa.Column("rows", sa.Integer, nullable=False, default=0),
    sa.Column("days", _Json),  # the days of events that it touched, as ISO dates
    sa.Column("created_at", Instant, nullable=False),  # machine time
    sa.Column("committed_at", Instant),
    sa.UniqueConstraint("model", "log", "source"),
    sa.Index("ix_ingest_model_log_state", "model", "log", "state"),
)

# Ids that callers gave (not those that perene made): the same id again gets the logged answer or a 409.
given_id = sa.Table(
    "given_id",
    metadata,
    _model(primary_key=True),
    sa.Column("prediction_id", sa.String, primary_key=True),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("row_digest", sa.String, nullable=False),
)

source_day = sa.Table(
    "source_day",
    metadata,
    _model(primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("asked_at", Instant, nullable=False),  # project time of the last call of source() for it
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("labelled", sa.Integer, nullable=False),
    sa.Column("quarantined", sa.Integer, nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    _id(),
    _model(index=True),
    sa.Column("run", sa.Integer),
    sa.Column("origin", sa.String, nullable=False),  # source, import, log
    sa.Column("field", sa.String, nullable=False),
    sa.Column("what", Prose, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("sample", _Json, nullable=False),  # up to five rows, as JSON
    sa.Column("at", Instant, nullable=False),
)

dataset_version = sa.Table(
    "dataset_version",
    metadata,
    _id(),
    _model(),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("run", sa.Integer, unique=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("trained_until", Instant, nullable=False),
    sa.Column("split", Instant, nullable=False),
    sa.Column("until", Instant, nullable=False),
    sa.Column("as_of", Instant, nullable=False),
    sa.Column("ingest", sa.Integer, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("train_rows", sa.Integer, nullable=False),
    sa.Column("test_rows", sa.Integer, nullable=False),
    sa.Column("labelled", sa.Integer, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("recipe", sa.String, nullable=False),
    sa.Column("changes", _Json, nullable=False),
    sa.Column("quarantined", sa.Integer, nullable=False),
    sa.Column("statistics", _Json, nullable=False),
    sa.UniqueConstraint("model", "version"),
)

# Digests per day, kept so that a new version costs the days it touches. A row holds for every question whose ingest
# is in [ingest, next append to that day) and whose as_of is in [known_through, the next row's known_at).
example_day = sa.Table(
    "example_day",
    metadata,
    _model(primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("ingest", sa.Integer, primary_key=True),  # the last append that touched the day
    sa.Column("known_through", Instant, primary_key=True),  # the newest known_at among its rows
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("labelled", sa.Integer, nullable=False),
    sa.Column("label_sum", sa.Float, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
)

model_version = sa.Table(
    "model_version",
    metadata,
    _id(),
    _model(),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("run", sa.Integer, unique=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("bundle", sa.String, nullable=False),
    sa.Column("recipe", sa.String, nullable=False),
    sa.Column("dataset", sa.Integer, nullable=False),
    sa.Column("trained_from", Instant, nullable=False),
    sa.Column("trained_until", Instant, nullable=False),
    sa.Column("trained_through", Instant, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("label_mean", sa.Float),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("peak_memory", sa.BigInteger, nullable=False),
    sa.Column("parameters", _Json, nullable=False),
    sa.Column("git_commit", sa.String),
    sa.Column("lock", sa.String, nullable=False),
    sa.Column("code", sa.String, nullable=False),
    sa.UniqueConstraint("model", "version"),
    sa.ForeignKeyConstraint(["model", "dataset"], ["dataset_version.model", "dataset_version.version"]),
)

evaluation = sa.Table(
    "evaluation",
    metadata,
    _id(),
    _model(index=True),
    sa.Column("run", sa.Integer, unique=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("candidate", sa.Integer, nullable=False),
    sa.Column("champion", sa.Integer),
    sa.Column("dataset", sa.Integer, nullable=False),
    sa.Column("verdict", _Json, nullable=False),
    sa.Column("by_day", _Json, nullable=False),
    sa.Column("slices", _Json, nullable=False),
)

release = sa.Table(
    "release",
    metadata,
    _id(),
    _model(index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("replaces", sa.Integer),
    sa.Column("run", sa.Integer, unique=True),
    sa.Column("evaluation", sa.Integer, sa.ForeignKey("evaluation.id")),
    sa.Column("bundle", sa.String, nullable=False),
    sa.Column("dataset_digest", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("canary", _Json),  # [[share, seconds], …]
    sa.ForeignKeyConstraint(["model", "version"], ["model_version.model", "model_version.version"]),
)

# Append-only: the newest event of a release is its state.
release_event = sa.Table(
    "release_event",
    metadata,
    _id(),
    sa.Column("release", sa.Integer, sa.ForeignKey("release.id"), nullable=False, index=True),
    _model(index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("at", Instant, nullable=False),  # project time
    sa.Column("actor", Prose, nullable=False),
    sa.Column("why", Prose, nullable=False),
)

run = sa.Table(
    "run",
    metadata,
    _id(),
    _model(),
    sa.Column("trigger", sa.String, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("actor", Prose, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("owner", sa.String),
    sa.Column("heartbeat_at", Instant),
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    sa.Column("deaths", sa.Integer, nullable=False, default=0),
    sa.Column("outcome", sa.String),
    sa.Column("error", _Json),
    sa.UniqueConstraint("model", "trigger", "due_at"),
)

step = sa.Table(
    "step",
    metadata,
    sa.Column("run", sa.Integer, sa.ForeignKey("run.id"), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("result", _Json),
    sa.Column("error", _Json),
)

alert = sa.Table(
    "alert",
    metadata,
    _id(),
    sa.Column("fingerprint", sa.String, nullable=False, index=True),
    sa.Column("model", sa.String),
    sa.Column("rule", sa.String, nullable=False),
    sa.Column("severity", sa.String, nullable=False),
    sa.Column("what", Prose, nullable=False),
    sa.Column("why", Prose, nullable=False),
    sa.Column("mend", Prose, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("first_at", Instant, nullable=False),
    sa.Column("last_at", Instant, nullable=False),
    sa.Column("resolved_at", Instant),
)
_firing = alert.c.state == "firing"
sa.Index("uq_alert_firing", alert.c.fingerprint, unique=True, sqlite_where=_firing, postgresql_where=_firing)

# Append-only.
audit = sa.Table(
    "audit",
    metadata,
    _id(),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", Prose, nullable=False),
    sa.Column("verb", sa.String, nullable=False),
    sa.Column("object", sa.String, nullable=False),
    sa.Column("why", Prose, nullable=False),
    sa.Column("before", _Json),
    sa.Column("after", _Json),
)

# Offline predictions: each load of a model. The newest ready one is what look-ups read.
generation = sa.Table(
    "generation",
    metadata,
    _id(),
    _model(index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("recipe", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("origin", Prose, nullable=False),  # "population", or the file's name
    sa.Column("run", sa.Integer),
    sa.Column("actor", Prose, nullable=False),
    sa.Column("computed_at", Instant, nullable=False),  # project time of its beginning
    sa.Column("ended_at", Instant),  # machine time
    sa.Column("rows", sa.Integer, nullable=False, default=0),  # so far
    sa.Column("keys", sa.Integer, nullable=False, default=0),
    sa.Column("aside", sa.Integer, nullable=False, default=0),  # rows that do not fit the Row
    sa.Column("fields", _Json, nullable=False),  # of the Row, in the order in which each row's values are stored
    sa.Column("steps", _Json, nullable=False),  # the version's post steps: [name, whether it is done again]
    sa.Column("error", _Json),
    sa.ForeignKeyConstraint(["model", "version"], ["model_version.model", "model_version.version"]),
)

# What each server process runs, by machine time; a silent one is dead.
server = sa.Table(
    "server",
    metadata,
    sa.Column("id", sa.String, primary_key=True),  # the journal's writer id
    sa.Column("address", sa.String, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("heartbeat_at", Instant, nullable=False),
    sa.Column("serves", _Json, nullable=False),  # {model: version}
    sa.Column("lost", sa.Integer, nullable=False, default=0),  # predictions answered but not logged
    sa.Column("drained_at", Instant),  # everything answered before this machine time is in the lake
)

# What all servers counted of a version in a role, since it was released or set into it. See records/serving.py.
serving = sa.Table(
    "serving",
    metadata,
    _model(primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("role", sa.String, primary_key=True),
    *(sa.Column(name, sa.Float, nullable=False, default=0.0) for name in COUNTED),
)

# A reader that needs everything answered so far asks the servers to drain.
drain_request = sa.Table(
    "drain_request",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True),
    sa.Column("asked_at", Instant, nullable=False),
)
