"""A version brings its own code: over HTTP, while the project's files change, across a release and a rollback.

The model marks its answer to one special row with what the parts of its code say: a sibling module, a module that is
imported inside a function, the class of its pickled state, and a data file. The special row is asked for only after
the project's files have changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from perene.app import App, open_project
from perene.records.verdict import Decision, Verdict

MODEL = "parcel-hours"
PARTS = ["sibling", "lazy", "pickled", "data"]
SPECIAL = 4321.0  # grams; no parcel of the source weighs that
MARKED = """
class Line(Base):
    def predict(self, x):
        kilograms = x["kilograms"].to_numpy()
        usual = self.base + self.slope * kilograms
        special = kilograms == 4.321
        if not special.any():
            return usual
        from lazy_part import lazy

        data = float((Path(__file__).parent / "part.csv").read_text())
        return np.where(special, sibling + 10 * lazy + 100 * self.mark() + 1000 * data, usual)


@hours.train
"""


def write_parts(models: Path, number: int) -> None:
    """Every part of the code says this number from now on."""
    folder = models.parent
    (folder / "sibling_part.py").write_text(f"sibling = {number}\n")
    (folder / "lazy_part.py").write_text(f"lazy = {number}\n")
    (folder / "pickled_part.py").write_text(
        "class Base:\n    def __init__(self, slope, base):\n        self.slope, self.base = slope, base\n"
        f"    def mark(self):\n        return {number}\n"
    )
    (models / "part.csv").write_text(f"{number}\n")


@pytest.fixture(scope="module")
def said(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, server_of: Any, wait_for: Callable[..., Any]
) -> dict[str, str]:
    """What a server marks the special row with, by phase; each text has the parts' numbers, in their order.

    Beside them what one process says of both versions by turns.
    """
    project = Path(shutil.copytree(trained, tmp_path_factory.mktemp("code") / "tiny"))
    models = project / "models"
    code = models / "parcel_hours.py"
    text = code.read_text()
    head, rest = text[: text.index("class Line:")], text[text.index("@hours.train") + len("@hours.train\n") :]
    imports = "from pathlib import Path\nfrom pickled_part import Base\nfrom sibling_part import sibling\n"
    code.write_text(head.replace("import polars", f"{imports}import polars", 1) + MARKED.lstrip() + rest)
    write_parts(models, 1)
    with closing(open_project(project)) as app:
        return live_through(app, models, server_of, wait_for)


def live_through(app: App, models: Path, server_of: Any, wait_for: Callable[..., Any]) -> dict[str, str]:
    """Train, change the files, train again, roll back; see ``said``."""
    project = models.parent
    first = app.train(MODEL, actor="t")
    assert first.outcome == "released", first
    old = app.models.champion(MODEL).version
    rows = pl.DataFrame({"number": [1], "sent_at": [app.time.now()], "grams": [SPECIAL]})
    phases: dict[str, str] = {}
    with server_of(project) as server:
        client = server.client()
        write_parts(models, 2)
        phases["files changed"] = asked(client)
        assert app.train(MODEL, actor="t").outcome == "released"
        wait_for(lambda: client.ask("GET", "/readyz")[1]["serves"] == {MODEL: old + 1})
        shutil.rmtree(models)
        for part in PARTS[:3]:
            (project / f"{part}_part.py").unlink()
        phases["released"] = asked(client)
        both = [app.predictor(MODEL, version) for version in (old, old + 1, old, old + 1)]
        special = app.model(MODEL).schema.check(rows).good
        phases["by turns"] = " ".join(marks(one.predict(special).raw[0]) for one in both)
        app.rollback(MODEL, to=old, actor="t", why="a test")
        wait_for(lambda: client.ask("GET", "/readyz")[1]["serves"] == {MODEL: old})
        phases["rolled back"] = asked(client)
        client.close()
    return phases


def asked(client: Any) -> str:
    """What the server marks the special row with."""
    row = {"number": 1, "sent_at": "2026-05-01T12:00:00Z", "grams": SPECIAL}
    status, answer = client.predict([row])
    assert status == 200
    return marks(answer["predictions"][0]["prediction"])


def marks(prediction: float) -> str:
    """The parts' numbers, in the order of PARTS."""
    return f"{prediction:04.0f}"[::-1]


@pytest.mark.parametrize("part", PARTS)
def test_a_version_keeps_every_part_of_its_code(said: dict[str, str], part: str) -> None:
    """Law 9: changed files change nothing, a release brings the new part, and a rollback the old one back."""
    at = PARTS.index(part)

    assert [said[phase][at] for phase in ("files changed", "released", "rolled back")] == ["1", "2", "1"]


def test_two_versions_answer_side_by_side(said: dict[str, str]) -> None:
    """Modules of the same names with other code: asked by turns in one process, each version says its own."""
    assert said["by turns"] == "1111 2222 1111 2222"


def test_a_candidate_is_judged_by_the_declaration_that_it_brings(trained: Path, tmp_path: Path) -> None:
    """A process that runs on while somebody asks for reviews releases nothing by the policy that it read before."""
    project = Path(shutil.copytree(trained, tmp_path / "tiny"))
    with closing(open_project(project)) as app:
        code = project / "models" / "parcel_hours.py"
        code.write_text(code.read_text().replace('every="1d",', 'every="1d",\n    release="review",'))

        run = app.train(MODEL, actor="t")

        (release,) = [release for release in app.releases.list(MODEL) if release.run == run.id]
        assert (run.outcome, release.state) == ("waiting", "waiting")
        assert app.models.champion(MODEL).version != release.version


METRIC = """

@hours.metric(better="lower")
def minutes(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.abs(y - p) * 60
"""
GOLDEN = """

@hours.golden
def a_kilogram() -> pl.DataFrame:
    return pl.DataFrame({"number": [1], "sent_at": [EPOCH], "grams": [1000.0], "most": [10.0]})
"""


@pytest.fixture
def judging(trained: Path, tmp_path: Path) -> Path:
    """A project with a live version, and with a metric and golden rows of its own."""
    project = Path(shutil.copytree(trained, tmp_path / "tiny"))
    code = project / "models" / "parcel_hours.py"
    code.write_text(code.read_text().replace('gate(rule="not-worse")', 'gate(metric="minutes")') + METRIC + GOLDEN)
    return project


def judged_after(project: Path, old: str, new: str) -> Verdict:
    """What the gate says of a candidate whose code was edited after the process that judges it had read the project."""
    with closing(open_project(project)) as app:
        code = project / "models" / "parcel_hours.py"
        assert old in code.read_text()
        code.write_text(code.read_text().replace(old, new))
        run = app.train(MODEL, actor="t")
        (found,) = [evaluation for evaluation in app.evaluations.list(MODEL) if evaluation.run == run.id]
        return found.verdict


def test_a_candidate_is_judged_by_the_metric_that_it_brings(judging: Path) -> None:
    """The metric's code counts as it was trained with, for both: candidate and champion are measured in one unit."""
    verdict = judged_after(judging, "np.abs(y - p) * 60", "7.0 + 0 * p")

    assert (verdict.candidate_score, verdict.champion_score) == (7.0, 7.0)


def test_a_candidate_is_judged_by_the_golden_rows_that_it_brings(judging: Path) -> None:
    """A demand that was made after the judging process had started holds."""
    verdict = judged_after(judging, '"most": [10.0]', '"most": [0.5]')

    assert verdict.decision is Decision.REFUSED
    assert verdict.reason.startswith("golden rows: 1 of 1")


def test_a_file_that_golden_rows_need_must_come_with_the_code(judging: Path) -> None:
    """Golden rows that read a file which is no part of the bundle refuse, and the reason says how it becomes one."""
    (judging / "golden.csv").write_text("number\n1\n")
    reads = "    pl.read_csv(__file__.replace('models/parcel_hours.py', 'golden.csv'))\n    return pl.DataFrame("
    verdict = judged_after(judging, "    return pl.DataFrame(", reads)

    assert verdict.decision is Decision.REFUSED
    assert "golden a_kilogram failed: FileNotFoundError" in verdict.reason
    assert "bundle.include" in verdict.reason
