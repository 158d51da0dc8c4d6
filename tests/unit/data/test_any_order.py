"""A project with two processes, in whatever order things happen to it: every version holds what was known when it was
cut, and reads back the same for ever.

The model beside it is plain lists and dictionaries of what was said.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from perene.pipelines.drain import Drained, Logs, drain, drain_orphans
from perene.pipelines.journaling import AnsweredRows, instant, row_digest
from perene.pipelines.truths import Truth, truths_entry
from perene.records.dataset import DatasetVersion
from perene.records.identity import identity
from perene.storage.database import Database
from perene.storage.envelope import Log
from perene.storage.journal import Journal, journal_files

EXAMPLES = 6  # other ones each time
HOUR, TICK = timedelta(hours=1), timedelta(microseconds=1)
SKEWS = (timedelta(minutes=7), timedelta(minutes=-4))  # of the two processes' clocks
WHO = st.integers(0, 1)
DAYS = st.sampled_from([4, 7, 9, 10])  # of January; time begins on the 10th, with a window of the 3rd to the 8th
PLACES = st.sampled_from([timedelta(0), 24 * HOUR - TICK])  # in a day: its edges
MILES = st.sampled_from([0.5, 1.0, 2.0])
LATE = st.sampled_from([True, False, None])
HOURS = st.sampled_from([0, 1, 20, 30, 90])  # from the event until its label is known: mostly after midnight
SUBJECTS = st.tuples(st.sampled_from(["s0", "p0", "i0"]), DAYS, PLACES)

Subject = tuple[str, datetime]
Said = tuple[float, bool | None, datetime]  # miles, label, known at


@pytest.fixture
def dialect() -> str:
    """Nothing here depends on the database."""
    return "sqlite"


class Project(RuleBasedStateMachine):
    """``told`` is what the source knows, ``imported`` what imports said of each subject (the last that is known holds);
    ``answered`` and ``truths`` are what was drained, in this order; ``waiting`` what lies in each journal.
    """

    new_bench: Callable[[], Any]
    beside: Callable[[Any], Any]

    @initialize()
    def begin(self) -> None:
        first = type(self).new_bench()
        self.benches = [first, type(self).beside(first)]
        self.folder: Path = first.folder / "journal"
        self.now = first.instant("2013-01-10 12:00")
        self.count = 0
        self.told: dict[Subject, Said] = {}
        self.imported: dict[Subject, list[Said]] = {}
        self.asked: list[tuple[str, Subject]] = []
        self.spoken_of: tuple[str, Subject] = ("", ("p0", self.at(7, timedelta(0))))
        self.answered: list[tuple[str, Subject, float, datetime]] = []
        self.truths: list[tuple[str | Subject, bool | None, datetime]] = []
        self.waiting: dict[str, list[tuple[str, Any]]] = {}
        self.versions: list[tuple[DatasetVersion, pl.DataFrame]] = []
        self.digests: dict[object, str] = {}
        self.journals = [self.new_journal(), self.new_journal()]
        for day in range(1, 29):  # something to train and to test on
            self.told["base", self.at(day, 6 * HOUR)] = (1.0, day % 2 == 0, self.at(day, 7 * HOUR))
        self.cycle(0, 0, asks=False)

    def teardown(self) -> None:
        if hasattr(self, "benches"):
            for journal in self.journals:
                journal.close()
            self.restart(0)
            for version, rows in self.versions:
                verified = self.benches[0].datasets.verify(self.benches[0].model, version.version)
                assert verified.ok
                assert verified.rows == rows.height == version.rows
            for bench in self.benches:
                bench.database.close()

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(rider=st.sampled_from(["s0", "s1"]), day=DAYS, place=PLACES, miles=MILES, late=LATE, hours=HOURS)
    def the_source_knows(
        self, rider: str, day: int, place: timedelta, miles: float, late: bool | None, hours: int
    ) -> None:
        at = self.at(day, place)
        self.told[rider, at] = (miles, late, at + hours * HOUR)

    @rule(subject=SUBJECTS)
    def the_source_forgets(self, subject: tuple[str, int, timedelta]) -> None:
        self.told.pop(self.subject(subject), None)

    @rule(who=WHO, day=DAYS, place=PLACES, miles=MILES, late=LATE, hours=HOURS)
    def someone_imports(
        self, who: int, day: int, place: timedelta, miles: float, late: bool | None, hours: int
    ) -> None:
        subject = "i0", self.at(day, place)
        known = subject[1] + hours * HOUR if late is not None else subject[1] - HOUR
        lines = self.imported.get(subject, [])
        if lines[-1:] != [(miles, late, known)]:
            held = self.held(lines) or (miles, None, subject[1] - HOUR)
            before = [(miles, *held[1:])] if known > self.now and held[2] < known else []
            self.imported[subject] = [*before, (miles, late, known)]
        self.benches[who].bring(self.frame({subject: (miles, late, known)}), f"{self.now:%Y-%m-%d %H:%M}")

    @rule(who=WHO, subject=SUBJECTS, miles=MILES, hours=st.sampled_from([-30, -1, 2]), again=st.booleans())
    def a_process_answers(
        self, who: int, subject: tuple[str, int, timedelta], miles: float, hours: int, again: bool
    ) -> None:
        """``again``: the caller gave an id, and sends another row under it to the other process."""
        self.count += 1
        rider, at = self.subject(subject)
        self.asked.append((f"p{self.count:03}", (rider, at)))
        for writer in (who, 1 - who)[: 1 + again]:
            made = at + hours * HOUR + SKEWS[writer]
            row = {"rider": rider, "starts": instant(at), "miles": miles + writer, "note": None}
            id_ = f"p{self.count:03}"
            rows = AnsweredRows(
                prediction_id=[id_], request_id=[""], position=[0], model_version=1, recipe="", event_at=[instant(at)],
                predicted_at=instant(made), recorded_at=instant(self.now + SKEWS[writer]),
                request={name: [row[name]] for name in row}, raw=[0.5], steps=[[]], final=[0.5],
                row_digest=[row_digest(row)] if again else None,
            )  # fmt: skip
            self.journals[writer].write(rows.entries("trip-late"))
            said = (id_, (rider, at), miles + writer, made)
            self.waiting[self.journals[writer].writer].append(("prediction", said))

    @rule(
        who=WHO, about=st.sampled_from(["the last", "a prediction", "its key", "a key"]), subject=SUBJECTS, late=LATE,
        hours=HOURS, times=st.sampled_from([1, 1, 2]),
    )  # fmt: skip
    def a_process_hears_the_truth(
        self, who: int, about: str, subject: tuple[str, int, timedelta], late: bool | None, hours: int, times: int
    ) -> None:
        """Of a prediction by its id or key, of any key, or of what was told of last; to both when one tries again."""
        id, asked = self.asked[-1] if self.asked else ("", self.subject(subject))
        others = {"a prediction": (id, asked), "its key": ("", asked), "a key": ("", self.subject(subject))}
        id, (rider, at) = self.spoken_of = others.get(about, self.spoken_of)
        known = at + hours * HOUR
        for writer in (who, 1 - who)[:times]:
            truth = Truth(
                prediction_id=id or None, key=None if id else identity({"rider": rider}), event_at=None if id else at,
                label=late, known_at=known, recorded_at=self.now + SKEWS[writer], source="http",
            )  # fmt: skip
            self.journals[writer].write([truths_entry("trip-late", [truth])])
            self.waiting[self.journals[writer].writer].append(("truth", (id or (rider, at), late, known)))

    @rule(who=WHO)
    def a_process_drains(self, who: int) -> None:
        self.journals[who].rotate()
        self.drained(drain(self.journals[who].closed(), self.logs(who)), [self.journals[who].writer])

    @rule(who=WHO, rotated=st.booleans())
    def a_process_dies(self, who: int, rotated: bool) -> None:
        """And another starts in its place; its journal is left."""
        if rotated:
            self.journals[who].rotate()
        self.journals[who].close()
        self.journals[who] = self.new_journal()
        self.restart(who)

    @rule(who=WHO)
    def a_process_drains_what_the_dead_left(self, who: int) -> None:
        alive = {journal.writer for journal in self.journals}
        dead = sorted({file.writer for file in journal_files(self.folder)} - alive)
        self.drained(drain_orphans(self.folder, self.logs(who)), dead)

    @rule(who=WHO, hours=st.sampled_from([0, 1, 13, 30]), asks=st.booleans())
    def cycle(self, who: int, hours: int, asks: bool) -> None:
        """Time goes on, and what is there by now is collected and cut: the version must hold just that.

        Before it a run ``asks`` the processes to drain.
        """
        for other in (who, 1 - who) if asks else ():
            self.a_process_drains(other)
        self.now += hours * HOUR + timedelta(minutes=1)
        self.count += 1
        bench = self.benches[who]
        bench.told = self.frame(self.told).sample(fraction=1.0, shuffle=True, seed=self.count)
        bench.collect(f"{self.now:%Y-%m-%d %H:%M}")
        self.cut(who)
        version, rows = self.versions[-1]
        expected = self.expected(version)
        assert rows.select("rider", "starts", "miles", "label", "known_at", "part").rows() == expected
        question = (version.since, version.until, tuple(expected))
        assert self.digests.setdefault(question, version.digest) == version.digest

    @rule(who=WHO)
    def cut(self, who: int) -> None:
        bench = self.benches[who]
        version = bench.cut(f"{self.now:%Y-%m-%d %H:%M}")
        assert version.version == len(self.versions) + 1
        self.versions.append((version, bench.datasets.read(bench.model, version)))

    @rule(who=WHO, log=st.sampled_from(list(Log)))
    def tidy(self, who: int, log: Log) -> None:
        self.benches[who].lake.compact("trip-late", log)
        self.benches[who].lake.vacuum("trip-late", log, keep=timedelta(0))

    @rule(who=WHO)
    def restart(self, who: int) -> None:
        """A process with nothing in its memory takes the place of another."""
        database = self.benches[who].database
        self.benches[who] = type(self).beside(self.benches[who])
        database.close()

    @invariant()
    def a_version_reads_back(self) -> None:
        """Another one each time, by one process and the other; all of them at the end."""
        self.count += 1
        version, rows = self.versions[self.count % len(self.versions)]
        bench = self.benches[self.count % 2]
        assert bench.datasets.read(bench.model, version.version).equals(rows)

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────

    def expected(self, version: DatasetVersion) -> list[tuple[object, ...]]:
        """The rows of a version: what the log says, where neither the source nor an import says otherwise."""
        holds = {subject: self.logged(subject) for _, subject, _, _ in self.answered}
        holds |= {subject: held for subject, lines in self.imported.items() if (held := self.held(lines)) is not None}
        holds |= self.told
        lines = []
        for (rider, at), (miles, late, known) in holds.items():
            label = late if known <= self.now else None
            if version.since <= at < version.until:
                part = "train" if at < version.trained_until else "gap" if at < version.split else "test"
                lines.append((rider, at, miles, label, known if label is not None else at - HOUR, part))
        return sorted(lines, key=lambda line: (line[1], f'["{line[0]}"]'))

    def held(self, lines: list[Said]) -> Said | None:
        """What imports say by now."""
        return next((line for line in reversed(lines) if line[2] <= self.now), None)

    def logged(self, subject: Subject) -> Said:
        """The last request before the event, or the first after it, and the newest truth of any of its predictions."""
        asked = [line for line in self.answered if line[1] == subject]
        asked.sort(key=lambda line: (line[3], line[0]))
        in_time = [line for line in asked if line[3] <= subject[1]]
        truths = [truth for id, *_ in asked if (truth := self.truth(id) or self.truth(subject)) is not None]
        label, known = max(truths, key=lambda truth: truth[1], default=(None, subject[1]))
        return (in_time[-1] if in_time else asked[0])[2], label, known

    def truth(self, about: str | Subject) -> tuple[bool, datetime] | None:
        """What was known last by now; of truths known at once, what was drained last."""
        said = [(known, place, late) for place, (of, late, known) in enumerate(self.truths) if of == about]
        known, _, late = max((s for s in said if s[0] <= self.now), default=(self.now, 0, None))
        return None if late is None else (late, known)

    # ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def at(self, day: int, place: timedelta) -> datetime:
        return self.benches[0].instant(f"2013-01-{day:02}") + place

    def subject(self, drawn: tuple[str, int, timedelta]) -> Subject:
        return drawn[0], self.at(*drawn[1:])

    def frame(self, rows: dict[Subject, Said]) -> pl.DataFrame:
        lines = [(rider, at, *said) for (rider, at), said in rows.items()]
        return pl.DataFrame(lines, schema=self.benches[0].trips("2013-01-01", 1).schema, orient="row")

    def new_journal(self) -> Journal:
        self.count += 1
        journal = Journal(self.folder, f"w{self.count:03}")
        self.waiting[journal.writer] = []
        return journal

    def logs(self, who: int) -> Logs:
        bench = self.benches[who]
        models = {"trip-late": bench.model}
        return Logs(models=models, predictions=bench.predictions, truths=bench.truths, database=bench.database)

    def drained(self, done: Drained, writers: list[str]) -> None:
        """What lay in these journals is in the logs: of a prediction id its first line."""
        assert done.failures == []
        for writer in writers:
            for kind, line in self.waiting[writer]:
                if kind == "truth":
                    self.truths.append(line)
                elif line[0] not in {known[0] for known in self.answered}:
                    self.answered.append(line)
            self.waiting[writer] = []


def test_in_whatever_order_things_happen_every_version_reads_back(make_bench, emptied, tmp_path_factory) -> None:
    """Rows, late labels, corrections, retractions, repeats, drains, deaths, restarts, compaction and vacuum of two
    processes, and cuts at any time between."""
    terms = {"examples": "source+log", "revisit": "60d", "train_on": "4d", "test_on": "2d"}

    def new_bench() -> Any:
        bench = make_bench(tmp_path_factory.mktemp("project"), emptied())
        bench.declare(**terms)
        return bench

    def beside(bench: Any) -> Any:
        url = bench.database.engine.url.render_as_string(hide_password=False)
        other = make_bench(bench.folder, Database(url))
        other.declare(**terms)
        return other

    machine = type("Project", (Project,), {"new_bench": staticmethod(new_bench), "beside": staticmethod(beside)})
    quick = settings(
        max_examples=EXAMPLES, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate], print_blob=True,
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=quick)
