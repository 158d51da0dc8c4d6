"""What is remembered: the verbs over the database and the lake, each one transaction."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

# Called first inside an effect's transaction: raises LostLease when another worker has taken over the run that asks.
Fence = Callable[[sa.Connection], None]
