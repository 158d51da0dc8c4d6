"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from perene.storage.migrations.append_only import forbid_changes
from perene.storage.tables import Instant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Make every table, and let nobody change what is written in the ledger and the audit log."""
    _models()
    _logs()
    _versions()
    _ledger()
    _runs()
    _generations()
    _watch()
    forbid_changes(op.get_bind(), "release_event")
    forbid_changes(op.get_bind(), "audit")


def _models() -> None:
    op.create_table(
        "model",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("declaration", _Json, nullable=False),
        sa.Column("champion", sa.Integer),
        sa.Column("held_at", Instant),
        sa.Column("held_by", sa.String),
        sa.Column("held_why", sa.String),
        sa.Column("canary", sa.Integer),
        sa.Column("canary_share", sa.Float, nullable=False),
        sa.Column("shadow", sa.Integer),
        sa.Column("shadow_since", Instant),
        sa.Column("former", sa.Integer),
        sa.Column("watched_until", Instant),
        sa.PrimaryKeyConstraint("name", name="pk_model"),
    )


def _logs() -> None:
    op.create_table(
        "project_clock",
        sa.Column(
            "id", sa.Integer, sa.CheckConstraint("id = 1", name=op.f("ck_project_clock_one_row")), nullable=False
        ),
        sa.Column("project_at", Instant, nullable=False),
        sa.Column("machine_at", Instant, nullable=False),
        sa.Column(
            "speed",
            sa.Float,
            sa.CheckConstraint("speed >= 0", name=op.f("ck_project_clock_speed_positive")),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_project_clock"),
    )
    op.create_table(
        "ingest",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("log", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column(
            "state",
            sa.String,
            sa.CheckConstraint("state IN ('open', 'committed', 'void')", name=op.f("ck_ingest_state")),
            nullable=False,
        ),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("days", _Json),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("committed_at", Instant),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_ingest_model_model"),
        sa.PrimaryKeyConstraint("id", name="pk_ingest"),
        sa.UniqueConstraint("model", "log", "source", name="uq_ingest_model_log_source"),
    )
    op.create_index("ix_ingest_model_log_state", "ingest", ["model", "log", "state"], unique=False)
    op.create_table(
        "given_id",
        sa.Column("model", sa.String, nullable=False),
        sa.Column("prediction_id", sa.String, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("row_digest", sa.String, nullable=False),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_given_id_model_model"),
        sa.PrimaryKeyConstraint("model", "prediction_id", name="pk_given_id"),
    )
    op.create_table(
        "source_day",
        sa.Column("model", sa.String, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("asked_at", Instant, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("labelled", sa.Integer, nullable=False),
        sa.Column("quarantined", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_source_day_model_model"),
        sa.PrimaryKeyConstraint("model", "day", name="pk_source_day"),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("run", sa.Integer),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("field", sa.String, nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("sample", _Json, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_quarantine_model_model"),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
    )
    op.create_index("ix_quarantine_model", "quarantine", ["model"], unique=False)
    op.create_table(
        "example_day",
        sa.Column("model", sa.String, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("ingest", sa.Integer, nullable=False),
        sa.Column("known_through", Instant, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("labelled", sa.Integer, nullable=False),
        sa.Column("label_sum", sa.Float, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_example_day_model_model"),
        sa.PrimaryKeyConstraint("model", "day", "ingest", "known_through", name="pk_example_day"),
    )


def _versions() -> None:
    op.create_table(
        "dataset_version",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("run", sa.Integer),
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
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_dataset_version_model_model"),
        sa.PrimaryKeyConstraint("id", name="pk_dataset_version"),
        sa.UniqueConstraint("model", "version", name="uq_dataset_version_model_version"),
        sa.UniqueConstraint("run", name="uq_dataset_version_run"),
    )
    op.create_table(
        "model_version",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("run", sa.Integer),
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
        sa.ForeignKeyConstraint(
            ["model", "dataset"],
            ["dataset_version.model", "dataset_version.version"],
            name="fk_model_version_model_dataset_dataset_version",
        ),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_model_version_model_model"),
        sa.PrimaryKeyConstraint("id", name="pk_model_version"),
        sa.UniqueConstraint("model", "version", name="uq_model_version_model_version"),
        sa.UniqueConstraint("run", name="uq_model_version_run"),
    )


def _ledger() -> None:
    op.create_table(
        "evaluation",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("run", sa.Integer),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("candidate", sa.Integer, nullable=False),
        sa.Column("champion", sa.Integer),
        sa.Column("dataset", sa.Integer, nullable=False),
        sa.Column("verdict", _Json, nullable=False),
        sa.Column("by_day", _Json, nullable=False),
        sa.Column("slices", _Json, nullable=False),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_evaluation_model_model"),
        sa.PrimaryKeyConstraint("id", name="pk_evaluation"),
        sa.UniqueConstraint("run", name="uq_evaluation_run"),
    )
    op.create_index("ix_evaluation_model", "evaluation", ["model"], unique=False)
    op.create_table(
        "release",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("replaces", sa.Integer),
        sa.Column("run", sa.Integer),
        sa.Column("evaluation", sa.Integer),
        sa.Column("bundle", sa.String, nullable=False),
        sa.Column("dataset_digest", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("canary", _Json),
        sa.ForeignKeyConstraint(["evaluation"], ["evaluation.id"], name="fk_release_evaluation_evaluation"),
        sa.ForeignKeyConstraint(
            ["model", "version"],
            ["model_version.model", "model_version.version"],
            name="fk_release_model_version_model_version",
        ),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_release_model_model"),
        sa.PrimaryKeyConstraint("id", name="pk_release"),
        sa.UniqueConstraint("run", name="uq_release_run"),
    )
    op.create_index("ix_release_model", "release", ["model"], unique=False)
    op.create_table(
        "release_event",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("release", sa.Integer, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("why", sa.String, nullable=False),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_release_event_model_model"),
        sa.ForeignKeyConstraint(["release"], ["release.id"], name="fk_release_event_release_release"),
        sa.PrimaryKeyConstraint("id", name="pk_release_event"),
    )
    op.create_index("ix_release_event_model", "release_event", ["model"], unique=False)
    op.create_index("ix_release_event_release", "release_event", ["release"], unique=False)


def _runs() -> None:
    op.create_table(
        "run",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("trigger", sa.String, nullable=False),
        sa.Column("due_at", Instant, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("owner", sa.String),
        sa.Column("heartbeat_at", Instant),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("deaths", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String),
        sa.Column("error", _Json),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_run_model_model"),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
        sa.UniqueConstraint("model", "trigger", "due_at", name="uq_run_model_trigger_due_at"),
    )
    op.create_index("ix_run_state", "run", ["state"], unique=False)
    op.create_table(
        "step",
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("ended_at", Instant),
        sa.Column("result", _Json),
        sa.Column("error", _Json),
        sa.ForeignKeyConstraint(["run"], ["run.id"], name="fk_step_run_run"),
        sa.PrimaryKeyConstraint("run", "name", name="pk_step"),
    )


def _generations() -> None:
    op.create_table(
        "generation",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("recipe", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("run", sa.Integer),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("computed_at", Instant, nullable=False),
        sa.Column("ended_at", Instant),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("keys", sa.Integer, nullable=False),
        sa.Column("aside", sa.Integer, nullable=False),
        sa.Column("fields", _Json, nullable=False),
        sa.Column("steps", _Json, nullable=False),
        sa.Column("error", _Json),
        sa.ForeignKeyConstraint(
            ["model", "version"],
            ["model_version.model", "model_version.version"],
            name="fk_generation_model_version_model_version",
        ),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_generation_model_model"),
        sa.PrimaryKeyConstraint("id", name="pk_generation"),
    )
    op.create_index("ix_generation_model", "generation", ["model"], unique=False)


def _watch() -> None:
    op.create_table(
        "alert",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("model", sa.String),
        sa.Column("rule", sa.String, nullable=False),
        sa.Column("severity", sa.String, nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("why", sa.String, nullable=False),
        sa.Column("mend", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("first_at", Instant, nullable=False),
        sa.Column("last_at", Instant, nullable=False),
        sa.Column("resolved_at", Instant),
        sa.PrimaryKeyConstraint("id", name="pk_alert"),
    )
    op.create_index("ix_alert_fingerprint", "alert", ["fingerprint"], unique=False)
    op.create_index(
        "uq_alert_firing",
        "alert",
        ["fingerprint"],
        unique=True,
        sqlite_where=sa.text("state = 'firing'"),
        postgresql_where=sa.text("state = 'firing'"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("verb", sa.String, nullable=False),
        sa.Column("object", sa.String, nullable=False),
        sa.Column("why", sa.String, nullable=False),
        sa.Column("before", _Json),
        sa.Column("after", _Json),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_table(
        "server",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("heartbeat_at", Instant, nullable=False),
        sa.Column("serves", _Json, nullable=False),
        sa.Column("lost", sa.Integer, nullable=False),
        sa.Column("drained_at", Instant),
        sa.PrimaryKeyConstraint("id", name="pk_server"),
    )
    op.create_table(
        "serving",
        sa.Column("model", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("requests", sa.Float, nullable=False),
        sa.Column("errors", sa.Float, nullable=False),
        sa.Column("rows", sa.Float, nullable=False),
        sa.Column("batches", sa.Float, nullable=False),
        sa.Column("singles", sa.Float, nullable=False),
        sa.Column("slow", sa.Float, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("seconds_sq", sa.Float, nullable=False),
        sa.Column("dropped", sa.Float, nullable=False),
        sa.Column("pairs", sa.Float, nullable=False),
        sa.Column("gap", sa.Float, nullable=False),
        sa.Column("gap_sq", sa.Float, nullable=False),
        sa.Column("other", sa.Float, nullable=False),
        sa.Column("other_sq", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(["model"], ["model.name"], name="fk_serving_model_model"),
        sa.PrimaryKeyConstraint("model", "version", "role", name="pk_serving"),
    )
    op.create_table(
        "drain_request",
        sa.Column(
            "id", sa.Integer, sa.CheckConstraint("id = 1", name=op.f("ck_drain_request_one_row")), nullable=False
        ),
        sa.Column("asked_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drain_request"),
    )
