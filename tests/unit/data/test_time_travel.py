"""Whatever comes in, in whatever order: a version holds what was known then, and reads back the same for ever."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from perene.records.dataset import DatasetVersion
from perene.storage.envelope import Log

HOUR = timedelta(hours=1)
DAYS = st.integers(3, 16)  # of January; time begins on the 10th
MILES = st.floats(0.5, 5.0, width=16)
LATE = st.sampled_from([True, False, None])
HOURS = st.integers(0, 90)  # from the event until its label is known
OPERATIONS = st.one_of(
    st.tuples(st.just("tell"), st.sampled_from(["s0", "s1"]), DAYS, MILES, LATE, HOURS),
    st.tuples(st.just("drop"), st.sampled_from(["s0", "s1"]), DAYS),
    st.tuples(st.just("predict"), st.sampled_from(["s0", "p0"]), DAYS, MILES),
    st.tuples(st.just("truth"), st.sampled_from(["s0", "p0"]), DAYS, LATE, HOURS),
    st.tuples(st.just("bring"), st.just("i0"), DAYS, MILES, LATE, HOURS),
    st.tuples(st.just("cycle"), st.integers(0, 60)),
    st.tuples(st.just("cut")),
    st.tuples(st.just("tidy")),
)
Line = tuple[str, datetime, float, bool | None, datetime]


@dataclass
class World:
    """A project, and beside it plain dictionaries of what was said, which tell what a version must hold."""

    bench: Any
    now: datetime
    source: dict[tuple[str, datetime], tuple[float, bool | None, datetime]] = field(default_factory=dict)
    imported: dict[tuple[str, datetime], tuple[float, bool | None, datetime]] = field(default_factory=dict)
    asked: dict[tuple[str, datetime], float] = field(default_factory=dict)
    truths: list[tuple[str, datetime, bool | None, datetime]] = field(default_factory=list)
    versions: list[tuple[DatasetVersion, pl.DataFrame]] = field(default_factory=list)
    told: int = 0

    def __post_init__(self) -> None:
        self.bench.declare(examples="source+log", revisit="60d", train_on="4d", test_on="2d")
        for day in range(1, 29):  # something to train and to test on
            self.source["base", self.at(day)] = (1.0, day % 2 == 0, self.at(day) + HOUR)

    def at(self, day: int) -> datetime:
        return self.bench.instant(f"2013-01-{day:02}") + 23 * HOUR  # most labels are known after midnight

    def frame(self, rows: dict[tuple[str, datetime], tuple[float, bool | None, datetime]]) -> pl.DataFrame:
        """Rows as a source gives them."""
        lines = [(rider, at, *row) for (rider, at), row in rows.items()]
        return pl.DataFrame(lines, schema=self.bench.trips("2013-01-01", 1).schema, orient="row")

    def do(self, operation: str, *arguments: Any) -> None:
        self.told += 1
        getattr(self, operation)(*arguments)

    def tell(self, rider: str, day: int, miles: float, late: bool | None, hours: int) -> None:
        self.source[rider, self.at(day)] = (miles, late, self.at(day) + hours * HOUR)

    def drop(self, rider: str, day: int) -> None:
        self.source.pop((rider, self.at(day)), None)

    def predict(self, rider: str, day: int, miles: float) -> None:
        self.asked[rider, self.at(day)] = miles
        rows = self.frame({(rider, self.at(day)): (miles, None, self.at(day))})
        made = self.at(day) - HOUR + timedelta(seconds=self.told)
        self.bench.predict(rows, [f"p{self.told}"], source=f"{self.told}", made_at=made)

    def truth(self, rider: str, day: int, late: bool | None, hours: int) -> None:
        known = self.at(day) + hours * HOUR
        self.truths.append((rider, self.at(day), late, known))
        rows = self.frame({(rider, self.at(day)): (1.0, late, known)})
        self.bench.tell(rows, source=f"{self.told}", retracted=late is None)

    def bring(self, rider: str, day: int, miles: float, late: bool | None, hours: int) -> None:
        known = self.at(day) + hours * HOUR
        if self.at(day) < self.now and known <= self.now:
            self.imported[rider, self.at(day)] = (miles, late, known)
            rows = self.frame({(rider, self.at(day)): (miles, late, known)})
            self.bench.bring(rows, f"{self.now:%Y-%m-%d %H:%M}")

    def cycle(self, hours: int) -> None:
        """Time goes on, and what was said by now is collected and cut; the version must hold just that."""
        self.now += hours * HOUR + timedelta(minutes=1)
        self.bench.told = self.frame(self.source).sort("starts", "rider")
        self.bench.collect(f"{self.now:%Y-%m-%d %H:%M}")
        self.cut()
        version, rows = self.versions[-1]
        assert rows.select("rider", "starts", "miles", "label", "known_at").rows() == self.expected(version)

    def cut(self) -> None:
        if self.bench.asked:
            version = self.bench.cut(f"{self.now:%Y-%m-%d %H:%M}")
            self.versions.append((version, self.bench.datasets.read(self.bench.model, version)))

    def tidy(self) -> None:
        for log in Log:
            self.bench.lake.compact("trip-late", log)
            self.bench.lake.vacuum("trip-late", log, keep=timedelta(0))

    def expected(self, version: DatasetVersion) -> list[Line]:
        """What holds: of the log, where neither the source nor an import says otherwise."""
        logged = {identity: (miles, *self.known(*identity)) for identity, miles in self.asked.items()}
        lines = []
        for (rider, at), (miles, late, known) in (logged | self.imported | self.source).items():
            label = late if known <= self.now else None
            if version.since <= at < version.until:
                lines.append((rider, at, miles, label, known if label is not None else at - HOUR))
        return sorted(lines, key=lambda line: (line[1], f'["{line[0]}"]'))

    def known(self, rider: str, at: datetime) -> tuple[bool | None, datetime]:
        """The truth that was known last by now; of those known at once, that which came last."""
        said = [truth for truth in self.truths if truth[:2] == (rider, at) and truth[3] <= self.now]
        newest = max(enumerate(said), key=lambda truth: (truth[1][3], truth[0]), default=None)
        return (None, at) if newest is None else newest[1][2:]


@settings(
    max_examples=8, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(operations=st.lists(OPERATIONS, min_size=15, max_size=40))
def test_every_version_reads_back_what_was_known_when_it_was_cut(make_bench, emptied, tmp_path_factory, operations):
    """Late rows and labels, corrections, retractions, imports, compaction: in any order, old versions stay."""
    bench = make_bench(tmp_path_factory.mktemp("world"), emptied())
    world = World(bench, now=bench.instant("2013-01-10 12:00"))
    for operation in [("cycle", 0), *operations, ("cycle", 30)]:
        world.do(*operation)

    for version, rows in world.versions:
        verified = bench.datasets.verify(bench.model, version)
        assert verified.ok
        assert verified.rows == rows.height == version.rows
        assert bench.datasets.read(bench.model, version.version).equals(rows)
