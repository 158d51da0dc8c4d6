"""Fault: a version's bundle is not what it should be. Promise: nothing of it runs, and the champion goes on serving.

Laws 11 and 12. The broken version is released twice: through the product, which refuses; and in the ledger, as if its
files broke after a person had approved it, so that the server has to refuse it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from perene.app import App, open_project
from perene.errors import BundleError
from perene.records.model import ModelVersion
from perene.records.release import Release
from perene.storage.bundles import FORMAT, MANIFEST

MODEL = "parcel-hours"
TELLTALE = """
from pathlib import Path

MARKS = Path({marks!r})
(MARKS / "imported").touch()


class Telltale:
    def __setstate__(self, state):
        (MARKS / "unpickled").touch()
        self.__dict__ = state

"""


@dataclass
class Stage:
    """A project that is served: v1 is live; ``sound`` waits, and leaves ``marks`` when it is imported or unpickled."""

    app: App
    client: Any
    sound: ModelVersion
    marks: Path
    wait_for: Callable[..., Any]

    def folder_of(self, digest: str) -> Path:
        """Where a bundle lies."""
        return Path(self.app.settings.storage) / "bundles" / digest[:2] / digest

    def planted(self, name: str, **changes: object) -> str:
        """A copy of the sound bundle under a name and a digest of its own, with changes of its manifest."""
        source = self.folder_of(self.sound.bundle)
        manifest = json.loads((source / MANIFEST).read_bytes()) | {"name": name} | changes
        content = json.dumps(manifest).encode()
        folder = self.folder_of(hashlib.sha256(content).hexdigest())
        shutil.copytree(source, folder)
        (folder / MANIFEST).write_bytes(content)
        return folder.name

    def propose(self, digest: str) -> Release:
        """A release of a version of this bundle, which nobody has decided on."""
        version = self.app.models.add_version(replace(self.sound, version=0, run=None, bundle=digest))
        why, now = "a test", self.app.time.now()
        return self.app.releases.propose(MODEL, version.version, run=None, evaluation=None, at=now, actor="t", why=why)

    def go_live(self, release: Release) -> None:
        """Approve it in the ledger: the files broke afterwards, or only here."""
        self.app.releases.approve(release.id, actor="t", why="a test", at=self.app.time.now())

    def shown(self) -> dict[str, Any]:
        """What the server says of the model."""
        status, model = self.client.ask("GET", f"/v1/models/{MODEL}")
        assert status == 200
        return model

    def take_back(self) -> None:
        """Roll back to v1, and wait until the server is content."""
        self.app.rollback(MODEL, to=1, actor="t", why="a test")
        content = {"status": "ready", "serves": {MODEL: 1}, "missing": [], "troubles": {}, "lost": 0}
        self.wait_for(lambda: self.client.ask("GET", "/readyz") == (200, content))
        self.wait_for(lambda: not self.app.alerts.list(state="firing"))


@pytest.fixture(scope="module")
def stage(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, server_of: Any, wait_for: Callable[..., Any]
) -> Iterator[Stage]:
    """One server for the tests of this file."""
    folder = tmp_path_factory.mktemp("stage")
    project = Path(shutil.copytree(trained, folder / "tiny"))
    marks = folder / "marks"
    marks.mkdir()
    code = project / "models" / "parcel_hours.py"
    text = code.read_text().replace("EPOCH =", TELLTALE.format(marks=str(marks)) + "\nEPOCH =", 1)
    code.write_text(text.replace("class Line:", "class Line(Telltale):"))
    with closing(open_project(project)) as app:
        app.hold(MODEL, actor="t", why="v1 shall stay")
        app.train(MODEL, actor="t")
        sound = app.models.version(MODEL, 2)
        with server_of(project) as server, closing(server.client()) as client:
            yield Stage(app, client, sound, marks, wait_for)


@pytest.fixture(autouse=True)
def unmarked(stage: Stage) -> None:
    """No marks are left from before."""
    for mark in stage.marks.iterdir():
        mark.unlink()


def flipped(path: Path) -> None:
    content = path.read_bytes()
    at = len(content) // 2
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


def a_flip(name: str) -> Callable[[Stage], str]:
    def broken(stage: Stage) -> str:
        digest = stage.planted(f"flip {name}")
        flipped(stage.folder_of(digest) / name)
        return digest

    return broken


def a_manifest(**changes: object) -> Callable[[Stage], str]:
    return lambda stage: stage.planted(f"manifest {changes}", **changes)


def a_name_that_leads_out(name: str) -> Callable[[Stage], str]:
    """The manifest names a file elsewhere, rightly described; where the name can lead to one, a module lies there."""

    def broken(stage: Stage) -> str:
        outside = (stage.marks.parent / "outside.py").absolute()
        outside.write_text(f"open({str(stage.marks / 'imported')!r}, 'w').close()\n")
        described = {"sha256": hashlib.sha256(outside.read_bytes()).hexdigest(), "size": outside.stat().st_size}
        sound = stage.app.bundles.open(stage.sound.bundle).manifest["files"]
        told = name.format(outside=outside, up="../" * 40 + str(outside).lstrip("/"))
        return stage.planted(told, files=sound | {told: described}, module="outside")

    return broken


def a_link(stage: Stage) -> str:
    digest = stage.planted("a link")
    module = stage.folder_of(digest) / "code" / "models" / "parcel_hours.py"
    outside = stage.marks.parent / "parcel_hours.py"
    module.replace(outside)
    module.symlink_to(outside)
    return digest


def a_file_more(stage: Stage) -> str:
    digest = stage.planted("a file more")
    (stage.folder_of(digest) / "code" / "numpy.py").write_text(f"open({str(stage.marks / 'imported')!r}, 'w')\n")
    return digest


def a_file_less(stage: Stage) -> str:
    digest = stage.planted("a file less")
    (stage.folder_of(digest) / "requirements.txt").unlink()
    return digest


BROKEN: dict[str, tuple[Callable[[Stage], str], str]] = {
    "a flipped byte in the manifest": (a_flip(MANIFEST), "bundle-changed"),
    "a flipped byte in the code": (a_flip("code/models/parcel_hours.py"), "bundle-changed"),
    "a flipped byte in the fitted state": (a_flip("fitted.pkl"), "bundle-changed"),
    "a flipped byte in the lock": (a_flip("requirements.txt"), "bundle-changed"),
    "a flipped byte in the probe rows": (a_flip("probes.arrow"), "bundle-changed"),
    "a newer format": (a_manifest(format=FORMAT + 1), "bundle-too-new"),
    "a manifest without files": (a_manifest(files=None), "bundle-manifest"),
    "a name that leads up": (a_name_that_leads_out("{up}"), "bundle-path"),
    "an absolute name": (a_name_that_leads_out("{outside}"), "bundle-path"),
    "a name of Windows": (a_name_that_leads_out("..\\outside.py"), "bundle-path"),
    "a drive of Windows": (a_name_that_leads_out("c:outside.py"), "bundle-path"),
    "a link": (a_link, "bundle-path"),
    "a file more": (a_file_more, "bundle-changed"),
    "a file less": (a_file_less, "bundle-missing"),
    "no bundle at all": (lambda stage: "0" * 64, "bundle-missing"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_bundle_is_refused_before_anything_of_it_runs(stage: Stage, a_row, case: str) -> None:
    """Proof: approval refuses it; released all the same, v1 answers on, the server says why, and no code of it ran."""
    break_, code = BROKEN[case]
    release = stage.propose(break_(stage))

    with pytest.raises(BundleError) as refused:
        stage.app.approve(release.id, actor="t", why="a test")
    assert (refused.value.code, bool(refused.value.why), bool(refused.value.mend)) == (code, True, True)
    assert stage.app.models.champion(MODEL).version == 1

    stage.go_live(release)
    missed = stage.wait_for(lambda: stage.shown()["not_loaded"])
    status, answer = stage.client.predict([a_row()])
    (alert,) = stage.wait_for(lambda: stage.app.alerts.list(state="firing"))
    ready = stage.client.ask("GET", "/readyz")
    stage.take_back()

    assert (status, answer["model_version"]) == (200, 1)
    assert missed == {"version": release.version} | {
        p: getattr(refused.value, p) for p in ("code", "what", "why", "mend")
    }
    assert (ready[0], ready[1]["status"], ready[1]["missing"]) == (503, "not ready", [MODEL])
    assert alert.rule == "load-failed"
    assert f"v{release.version}: v1 goes on answering" in alert.what
    assert refused.value.why in alert.why
    assert list(stage.marks.iterdir()) == []


def test_a_rollback_takes_the_alert_back(stage: Stage) -> None:
    """What could not be loaded is not wanted any more: the server is ready and the alert resolved."""
    stage.go_live(stage.propose("1" * 64))
    stage.wait_for(lambda: stage.app.alerts.list(state="firing"))

    stage.take_back()

    assert stage.shown()["not_loaded"] is None


def test_a_sound_bundle_is_imported_and_unpickled(stage: Stage) -> None:
    """The telltale tells: what is refused above would have left its marks."""
    release = stage.propose(stage.planted("sound"))

    stage.app.approve(release.id, actor="t", why="a test")

    stage.wait_for(lambda: stage.shown()["live_version"] == release.version)
    stage.take_back()
    assert {mark.name for mark in stage.marks.iterdir()} == {"imported", "unpickled"}


def test_a_version_that_answers_its_probe_rows_differently_is_refused(stage: Stage, a_row) -> None:
    """A sound bundle whose model says something else here: not approved; released all the same, v1 answers on."""
    digest = stage.planted("to be changed")
    files = stage.app.bundles.open(digest).manifest["files"]
    probes = stage.folder_of(digest) / "probes.arrow"
    changed = pl.read_ipc(probes.read_bytes()).with_columns(pl.col("raw_0") + 1e-3)
    changed.write_ipc(probes)
    content = probes.read_bytes()
    described = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    other = stage.planted("other answers", files=files | {"probes.arrow": described})
    shutil.copyfile(probes, stage.folder_of(other) / "probes.arrow")
    release = stage.propose(other)

    with pytest.raises(BundleError, match="cannot be used here") as refused:
        stage.app.approve(release.id, actor="t", why="a test")
    stage.go_live(release)
    missed = stage.wait_for(lambda: stage.shown()["not_loaded"])
    status, answer = stage.client.predict([a_row()])
    stage.take_back()

    assert (status, answer["model_version"]) == (200, 1)
    assert (refused.value.code, missed["code"], missed["version"]) == (
        "bundle-answers",
        "bundle-answers",
        release.version,
    )
    assert "probe rows" in missed["why"]


def test_a_version_whose_code_cannot_run_here_is_refused(stage: Stage, a_row) -> None:
    """A package that is missing, or any other error of its code: with the same four parts, and v1 answers on."""
    digest = stage.planted("to be changed, too")
    files = stage.app.bundles.open(digest).manifest["files"]
    content = b"import a_package_that_nobody_has\n"
    name, described = (
        "code/models/parcel_hours.py",
        {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)},
    )
    other = stage.planted("no package", files=files | {name: described})
    (stage.folder_of(other) / name).write_bytes(content)
    release = stage.propose(other)

    with pytest.raises(BundleError) as refused:
        stage.app.approve(release.id, actor="t", why="a test")
    stage.go_live(release)
    missed = stage.wait_for(lambda: stage.shown()["not_loaded"])
    status, answer = stage.client.predict([a_row()])
    stage.take_back()

    assert (status, answer["model_version"]) == (200, 1)
    assert (refused.value.code, missed["code"]) == ("bundle-load", "bundle-load")
    assert "a_package_that_nobody_has" in missed["why"]
