"""Training: what a version is made of and remembers, whatever train() returns, and how it fails."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import numpy as np
import polars as pl
import pytest

from perene.app import App, open_project
from perene.errors import BundleError, PereneError
from perene.pipelines.data import collect, cut
from perene.pipelines.predictor import load_predictor
from perene.pipelines.training import Workshop, train

LABEL = {
    "regression": 'Label("hours", float, **WAIT)',
    "binary": 'Label("late", bool, **WAIT)',
    "classes": 'Label("speed", Literal["slow", "usual", "fast"], **WAIT)',
}


def shop_of(app: App) -> Workshop:
    return Workshop(
        project=app.project, datasets=app.datasets, models=app.models, bundles=app.bundles, engine=app.engine,
        scratch=app.project.folder / ".perene" / "work",
    )  # fmt: skip


def project(kind: str, train: str) -> str:
    return f"\n{train}\n\nm = Model('parcels', label={LABEL[kind]}, train=train, **terms)\n"


CASES = {
    "scikit-learn regression": (
        "regression",
        "from sklearn.ensemble import HistGradientBoostingRegressor as Trees\n"
        "def train(x: np.ndarray, y, seed):\n    return Trees(max_iter=20, random_state=seed).fit(x, y)\n",
    ),
    "scikit-learn binary": (
        "binary",
        "from sklearn.ensemble import HistGradientBoostingClassifier as Trees\n"
        "def train(x: np.ndarray, y, seed):\n    return Trees(max_iter=20, random_state=seed).fit(x, y)\n",
    ),
    "scikit-learn classes": (
        "classes",
        "from sklearn.linear_model import LogisticRegression\n"
        "def train(x: pl.DataFrame, y):\n    return LogisticRegression().fit(x, y)\n",
    ),
    "scikit-learn on pandas": (
        "binary",
        "import pandas as pd\nfrom sklearn.linear_model import LogisticRegression\n"
        "def train(x: pd.DataFrame, y: pd.Series):\n    return LogisticRegression().fit(x, y)\n",
    ),
    "LightGBM's booster": (
        "binary",
        "import lightgbm\n"
        "def train(x: np.ndarray, y, seed):\n"
        "    return lightgbm.train({'objective': 'binary', 'seed': seed, 'verbose': -1, 'num_threads': 1},\n"
        "                          lightgbm.Dataset(x, y), num_boost_round=10)\n",
    ),
    "LightGBM's classifier": (
        "classes",
        "import lightgbm\n"
        "def train(x: np.ndarray, y, seed):\n"
        "    return lightgbm.LGBMClassifier(n_estimators=10, random_state=seed, verbose=-1, n_jobs=1).fit(x, y)\n",
    ),
    "a plain object": (
        "binary",
        "class Share:\n"
        "    def __init__(self, y, x):\n"
        "        self.share, self.middle = float(y.mean()), float(np.median(x))\n"
        "    def predict(self, x):\n"
        "        return np.where(x[:, 0] > self.middle, min(self.share * 1.5, 0.99), self.share / 2)\n"
        "def train(x: np.ndarray, y):\n    return Share(y, x[:, 0])\n",
    ),
}


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)  # what predicts does not depend on the database
@pytest.mark.parametrize("case", CASES)
def test_whatever_predicts_can_be_a_version(open_app, needs, case) -> None:
    """scikit-learn, LightGBM and plain objects are trained, kept, opened again, and answer."""
    if "LightGBM" in case:
        needs("libgomp1")
    kind, train = CASES[case]
    app = open_app(project(kind, train))

    run = app.train("parcels", actor="test")

    assert run.error is None
    version = app.models.version("parcels", 1)
    predictor = load_predictor(app.bundles, version, project=app.project.folder)
    model = app.model("parcels")
    rows = app.datasets.read(model, version.dataset, part="test").select(*model.schema.polars)
    raw = predictor.predict(rows).raw
    assert raw.shape == ((rows.height, 3) if kind == "classes" else (rows.height,))
    assert np.isfinite(raw).all()
    if kind != "regression":
        assert ((raw >= 0) & (raw <= 1)).all()
    if kind == "classes":
        np.testing.assert_allclose(raw.sum(axis=1), 1.0)
    assert run.outcome in ("released", "inconclusive")


def test_probabilities_come_in_the_order_of_the_label(open_app) -> None:
    """Columns are in the label's order, not in that of the model's classes, and a class that was not seen gets 0."""
    train = (
        "class Two:\n"
        "    classes_ = np.array(['usual', 'slow'], dtype=object)\n"
        "    def predict_proba(self, x):\n        return np.tile([0.7, 0.3], (len(x), 1))\n"
        "def train(x, y):\n    return Two()\n"
    )
    app = open_app(project("classes", train))
    app.train("parcels", actor="test")
    predictor = app.predictor("parcels", 1)

    sent_at = predictor.version.trained_from
    row = pl.DataFrame({"number": [1], "sent_at": [sent_at], "grams": [5.0], "zone": ["near"]})
    raw = predictor.predict(row).raw

    assert raw.tolist() == [[0.3, 0.7, 0.0]]


def test_a_version_remembers_what_it_was_made_of(open_app) -> None:
    """Seed, parameters, seconds, peak memory, rows, the newest event, lock, code and recipe are kept."""
    app = open_app(project(*CASES["scikit-learn binary"]))
    app.train("parcels", actor="test")

    version = app.models.version("parcels", 1)
    dataset = app.datasets.get("parcels", version.dataset)
    rows = app.datasets.read(app.model("parcels"), dataset, part="train")
    manifest = app.bundles.open(version.bundle).manifest
    assert version.parameters["max_iter"] == 20
    assert version.parameters["random_state"] == version.seed
    assert version.seconds > 0
    assert version.peak_memory > 50 * 2**20
    assert version.rows == rows["label"].count() == dataset.train_rows
    assert version.trained_through == rows["event_at"].max() < dataset.trained_until
    assert version.label_mean == pytest.approx(rows["label"].mean())
    assert manifest["dataset"] == {"version": dataset.version, "digest": dataset.digest}
    assert "polars==" in app.bundles.open(version.bundle).read("requirements.txt").decode()
    assert version.code == manifest["code"]


def test_the_commit_is_kept_and_whether_files_differ(open_app) -> None:
    """Inside git a version names the commit, and says when the project's files are not those of it."""
    app = open_app()
    folder = app.project.folder
    (folder / ".gitignore").write_text(".perene/\n__pycache__/\n")
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True).stdout

    app.train("parcels", actor="test")
    (folder / "new.py").write_text("x = 1\n")
    app.train("parcels", actor="test")

    assert app.models.version("parcels", 1).git_commit == head.strip()
    assert app.models.version("parcels", 2).git_commit == f"{head.strip()}+changes"


FAILURES = {
    "raises": (
        "def train(x, y):\n    raise RuntimeError('no memory of this')\n",
        "training-failed",
        "no memory of this",
    ),
    "ends its process": ("import os\ndef train(x, y):\n    os.abort()\n", "training-died", "signal 6"),
    "returns nothing": ("def train(x, y):\n    return None\n", "training-unusable", "neither predict"),
    "returns a lambda inside": (
        "class Odd:\n    def __init__(self):\n        self.f = lambda x: x\n"
        "    def predict(self, x):\n        return np.zeros(len(x))\ndef train(x, y):\n    return Odd()\n",
        "training-unusable",
        "lambda",
    ),
    "predicts another shape": (
        "class Odd:\n    def predict(self, x):\n        return np.zeros((len(x), 2))\n"
        "def train(x, y):\n    return Odd()\n",
        "training-unusable",
        "regression",
    ),
    "predicts with an error": (
        "class Odd:\n    def predict(self, x):\n        raise KeyError('gone')\ndef train(x, y):\n    return Odd()\n",
        "training-failed",
        "gone",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_training_that_fails_says_why(open_app, case) -> None:
    """The run fails in the step train, with a code, the reason and a mend; nothing half done stays; an alert fires."""
    body, code, why = FAILURES[case]
    app = open_app(project("regression", body))

    run = app.train("parcels", actor="test")

    assert (run.state, run.steps[-1].name) == ("failed", "train")
    assert run.error is not None
    assert run.error["code"] == code
    assert why in f"{run.error['why']} {run.error['what']}"
    assert run.error["mend"]
    assert app.models.versions("parcels") == []
    assert list((app.project.folder / ".perene" / "work").iterdir()) == []
    assert [alert.rule for alert in app.alerts.list(state="firing")] == ["run-failed"]


def test_an_error_in_the_users_code_names_its_line(open_app) -> None:
    """What train() raised is told with the file and line of the project, not with those of a copy."""
    app = open_app(project("regression", FAILURES["raises"][0]))

    error = app.train("parcels", actor="test").error

    assert error is not None
    lines = (app.project.folder / "models" / "parcels.py").read_text().splitlines()
    line = lines.index("    raise RuntimeError('no memory of this')") + 1
    assert error["seen"][-1] == f"models/parcels.py:{line} in train"


def test_features_that_look_at_other_rows_are_refused(open_app) -> None:
    """Law 1: training compares a sample row by row with the batch, and refuses a difference."""
    body = (
        "def train(x, y):\n    return None\n"
        "terms['features'] = lambda rows: rows.select(share=pl.col('grams') / pl.col('grams').max())\n"
    )
    app = open_app(project("regression", body))

    error = app.train("parcels", actor="test").error

    assert error is not None
    assert "row-wise" in " ".join(error["seen"])


def test_the_same_run_trains_once(open_app) -> None:
    """A step that comes again gives the version that it made."""
    app = open_app()
    app.train("parcels", actor="test")

    again = train(shop_of(app), app.model("parcels"), app.datasets.get("parcels", 1), run=1, now=app.time.now())

    assert again == app.models.version("parcels", 1)
    assert len(app.models.versions("parcels")) == 1


def test_a_worker_that_lost_its_run_leaves_its_successors_files(open_app, wait_for) -> None:
    """Law 8: who takes a run over trains undisturbed while the worker before, which was only slow, gives up."""
    waiting = """
        import time
        from pathlib import Path
        from sklearn.linear_model import LinearRegression

        def train(x: np.ndarray, y):
            while not (Path(__file__).parents[4] / "go").exists():
                time.sleep(0.01)
            return LinearRegression().fit(x, y)
    """
    first = open_app(project("regression", dedent(waiting)))
    second = open_project(first.project.folder)
    model, now = first.model("parcels"), first.time.now()
    collect(model, now=now, lake=first.lake, database=first.database)
    dataset = cut(model, now=now, lake=first.lake, database=first.database)
    work = first.project.folder / ".perene" / "work"
    run = first.runs.create("parcels", trigger="manual", due_at=now, created_at=now, actor="test").id
    lost = threading.Event()

    with ThreadPoolExecutor(2) as pool:
        before = pool.submit(train, shop_of(first), model, dataset, run=run, now=now, lost=lost)
        (mine,) = wait_for(lambda: list(work.glob("*/printed.txt")))
        after = pool.submit(train, shop_of(second), model, dataset, run=run, now=now)
        wait_for(lambda: [path for path in work.glob("*/printed.txt") if path != mine])
        lost.set()
        gave_up = before.exception()
        (work / "go").touch()
        made = after.result()
    second.close()

    assert isinstance(gave_up, PereneError)
    assert made == first.models.version("parcels", 1)
    assert [path.name for path in work.iterdir()] == ["go"]


def test_old_code_comes_back_with_its_version(open_app, write_project) -> None:
    """A version answers with the code that it was trained with, whatever the project's files say now."""
    app = open_app()
    app.train("parcels", actor="test")
    rows = pl.DataFrame({"number": [1], "sent_at": [app.time.now()], "grams": [500.0]})
    before = app.predict("parcels", rows)["prediction"].to_list()
    file = app.project.folder / "models" / "parcels.py"
    file.write_text(file.read_text().replace("0.9 *", "5.0 *"))

    after = open_project(app.project.folder)
    answers = after.predict("parcels", rows)["prediction"].to_list()
    after.train("parcels", actor="test")

    assert answers == before
    assert after.models.version("parcels", 2).code != after.models.version("parcels", 1).code
    assert after.predictor("parcels", 1).predict(app.model("parcels").schema.check(rows).good).raw.tolist() == before
    after.close()


def test_a_version_that_answers_otherwise_is_refused(open_app) -> None:
    """Load replays the probe rows: a model that depends on its surroundings is refused when they change."""
    body = (
        "import os\n"
        "class Odd:\n    def predict(self, x):\n"
        "        return np.full(len(x), float(os.environ.get('PERENE_TEST_ODD', '1')))\n"
        "def train(x, y):\n    return Odd()\n"
    )
    app = open_app(project("regression", body))
    app.train("parcels", actor="test")
    version = app.models.version("parcels", 1)
    load_predictor(app.bundles, version, project=app.project.folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERENE_TEST_ODD", "2")
        with pytest.raises(BundleError) as caught:
            load_predictor(app.bundles, version, project=app.project.folder)

    assert caught.value.code == "bundle-answers"
    assert "probe rows" in caught.value.why


def test_a_champion_whose_code_cannot_run_here_refuses_its_candidates(open_app) -> None:
    """Law 6: a package of the champion's is gone, so it cannot score: the run ends, and releases nothing."""
    app = open_app()
    file = app.project.folder / "models" / "parcels.py"
    sound = file.read_text()
    file.write_text(f"import os\nif os.environ.get('PERENE_TEST_GONE'):\n    import a_package_that_is_gone\n{sound}")
    first = open_project(app.project.folder)
    first.train("parcels", actor="test")
    first.close()
    file.write_text(sound)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERENE_TEST_GONE", "1")
        run = app.train("parcels", actor="test")

    assert (run.error, run.outcome) == (None, "refused")
    reason = app.evaluations.for_version("parcels", 2).verdict.reason
    assert "champion v1 cannot be loaded" in reason
    assert "a_package_that_is_gone" in reason


def test_a_lazy_import_is_verified_too(open_app) -> None:
    """A module of the bundle that is read long after it was opened must still be what the digest says."""
    body = (
        "class Lazy:\n    def predict(self, x):\n        if len(x) == 7:\n            import later\n"
        "        return np.zeros(len(x))\ndef train(x, y):\n    return Lazy()\n"
    )
    app = open_app(project("regression", body), later="x = 1\n")
    app.train("parcels", actor="test")
    predictor = app.predictor("parcels", 1)
    digest = predictor.version.bundle
    (Path(app.settings.storage) / "bundles" / digest[:2] / digest / "code" / "later.py").write_text("x = 2\n")
    rows = pl.DataFrame({"number": range(7), "sent_at": [app.time.now()] * 7, "grams": [5.0] * 7, "zone": ["near"] * 7})

    with pytest.raises(BundleError) as caught:
        predictor.predict(rows)

    assert caught.value.code == "bundle-changed"


def test_an_unknown_version_says_which_there_are(open_app) -> None:
    """Who asks for a version that is not there is told which are."""
    app = open_app()
    app.train("parcels", actor="test")

    with pytest.raises(PereneError, match="it has v1 to v1"):
        app.predictor("parcels", 7)
