"""Bundles: what is put is whole, and what is opened is what was put, to the last byte."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perene.errors import BundleError, StorageError
from perene.storage.bundles import FORMAT, MANIFEST, Bundles

FACTS = {"model": "m", "module": "models.m"}
FILES = {
    "code/models/m.py": b"import sys\n",
    "code/models/__init__.py": b"",
    "fitted.pkl": bytes(range(256)),
    "probes.arrow": b"ARROW",
}


@pytest.fixture
def bundles(tmp_path: Path) -> Bundles:
    return Bundles(tmp_path / "bundles")


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """A folder with the files of a version."""
    return filled(tmp_path / "staging", FILES)


def filled(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def folder_of(bundles: Bundles, digest: str) -> Path:
    return bundles.open(digest).folder


def planted(
    bundles: Bundles, files: dict[str, bytes], /, manifest: dict[str, Any] | None = None, **changes: Any
) -> str:
    """Write a bundle by hand, with a manifest that lies where it is told to; the digest is that of the manifest."""
    names = {name: {"sha256": hashlib.sha256(c).hexdigest(), "size": len(c)} for name, c in files.items()}
    content = json.dumps(manifest or {"format": FORMAT, "files": names} | changes).encode()
    digest = hashlib.sha256(content).hexdigest()
    folder = bundles._root / digest[:2] / digest
    for name, file in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_bytes(content)
    return digest


def refused(deed: Callable[[], object]) -> BundleError:
    with pytest.raises(BundleError) as caught:
        deed()
    assert caught.value.why
    assert caught.value.mend
    return caught.value


# ── what is put ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_put_is_opened(bundles: Bundles, staging: Path) -> None:
    """Every file, the facts and the format come back; the digest is the manifest's."""
    digest = bundles.put(staging, facts=FACTS)

    bundle = bundles.open(digest)
    assert {name: bundle.read(name) for name in bundle.manifest["files"]} == FILES
    assert {name: bundle.manifest[name] for name in FACTS} == FACTS
    assert bundle.manifest["format"] == FORMAT
    assert hashlib.sha256((bundle.folder / MANIFEST).read_bytes()).hexdigest() == digest


def test_the_same_content_again_changes_nothing(bundles: Bundles, staging: Path) -> None:
    """Put twice, from anywhere, it is one bundle, whose files are not written again."""
    digest = bundles.put(staging, facts=FACTS)
    before = {path: path.stat().st_mtime_ns for path in folder_of(bundles, digest).rglob("*")}
    elsewhere = filled(staging.parent / "elsewhere", dict(reversed(FILES.items())))

    assert bundles.put(elsewhere, facts=dict(reversed(FACTS.items()))) == digest
    assert {path: path.stat().st_mtime_ns for path in folder_of(bundles, digest).rglob("*")} == before


@pytest.mark.parametrize("files", [FILES | {"fitted.pkl": b"other"}, FILES | {"more": b""}, {}])
def test_another_content_is_another_bundle(bundles: Bundles, staging: Path, files: dict[str, bytes]) -> None:
    """A byte, a name or a fact that differs gives another digest, and both can be opened."""
    digest = bundles.put(staging, facts=FACTS)
    (staging.parent / "other").mkdir()

    others = {bundles.put(filled(staging.parent / "other", files), facts=FACTS)}
    others.add(bundles.put(staging, facts=FACTS | {"model": "n"}))

    assert len(others | {digest}) == 3
    for one in others | {digest}:
        bundles.open(one)


def test_bytecode_is_not_kept(bundles: Bundles, staging: Path) -> None:
    """What an import left in the folder does not change the digest."""
    digest = bundles.put(staging, facts=FACTS)
    filled(staging, {"code/models/__pycache__/m.cpython-311.pyc": b"x"})

    assert bundles.put(staging, facts=FACTS) == digest


def test_a_linked_file_is_kept_as_its_content(bundles: Bundles, staging: Path) -> None:
    """A bundle has no links; a broken one is refused as a file that cannot be read is."""
    (staging / "linked").symlink_to(staging / "fitted.pkl")

    bundle = bundles.open(bundles.put(staging, facts=FACTS))

    assert bundle.read("linked") == FILES["fitted.pkl"]
    assert not (bundle.folder / "linked").is_symlink()


@pytest.mark.parametrize("name", ["manifest.json", "a:b.csv", "a\\b.csv"])
def test_a_name_that_could_not_be_opened_is_not_put(bundles: Bundles, staging: Path, name: str) -> None:
    """The error comes when the bundle is made, and names the file."""
    filled(staging, {name: b"x"})

    with pytest.raises(StorageError, match="cannot be kept") as caught:
        bundles.put(staging, facts=FACTS)

    assert caught.value.code == "bundle-path"
    assert not (bundles._root).exists()


def test_a_disk_that_refuses_is_a_storage_error(tmp_path: Path, staging: Path) -> None:
    """Nothing half written stays; with room again the same put works."""
    root = tmp_path / "bundles"
    root.write_text("a file where the folder must be")
    with pytest.raises(StorageError, match="cannot be written"):
        Bundles(root).put(staging, facts=FACTS)
    root.unlink()

    bundles = Bundles(root)
    bundles.open(bundles.put(staging, facts=FACTS))


def test_a_file_that_changes_while_it_is_put_is_noticed(
    bundles: Bundles, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle whose copies are not what its manifest says never comes into being."""
    copy = shutil.copyfile

    def changing(source: Path, to: Path) -> None:
        source.write_bytes(source.read_bytes() + b"!")
        copy(source, to)

    monkeypatch.setattr(shutil, "copyfile", changing)
    with pytest.raises(StorageError, match="changed meanwhile"):
        bundles.put(staging, facts=FACTS)

    assert [path for path in bundles._root.rglob("*") if path.name != ".lock"] == []


def test_racing_puts_leave_one_whole_bundle(bundles: Bundles, staging: Path) -> None:
    """Threads that put the same and others at one time all get a bundle that opens."""
    start, digests, failures = threading.Barrier(6), list[str](), list[Exception]()

    def put(version: int) -> None:
        start.wait()
        try:
            digests.append(Bundles(bundles._root).put(staging, facts=FACTS | {"version": version}))
            bundles.open(digests[-1])
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=put, args=(i // 3,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert len(digests) == 6
    assert len(set(digests)) == 2


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_flipped_byte_in_any_file_is_refused(bundles: Bundles, staging: Path) -> None:
    """Any byte of any file, the manifest's too: not one is opened, and nothing of it can be read."""
    digest = bundles.put(staging, facts=FACTS)
    opened = bundles.open(digest)
    for path in sorted(path for path in opened.folder.rglob("*") if path.is_file() and path.stat().st_size):
        content = path.read_bytes()
        for at in {0, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            assert refused(lambda: bundles.open(digest)).code == "bundle-changed"
            if path.name != MANIFEST:
                name = path.relative_to(opened.folder).as_posix()
                assert refused(lambda name=name: opened.read(name)).code == "bundle-changed"
        path.write_bytes(content)

    assert bundles.open(digest) == opened


@pytest.mark.parametrize("change", [b"", FILES["fitted.pkl"] + b"\0", FILES["fitted.pkl"][:-1]])
def test_a_cut_or_longer_file_is_refused(bundles: Bundles, staging: Path, change: bytes) -> None:
    """A file that lost or gained bytes is a changed one."""
    digest = bundles.put(staging, facts=FACTS)
    (folder_of(bundles, digest) / "fitted.pkl").write_bytes(change)

    assert refused(lambda: bundles.open(digest)).code == "bundle-changed"


def test_a_missing_file_is_refused(bundles: Bundles, staging: Path) -> None:
    """The error names it, at opening and at reading."""
    digest = bundles.put(staging, facts=FACTS)
    opened = bundles.open(digest)
    (opened.folder / "fitted.pkl").unlink()

    for deed in (lambda: bundles.open(digest), lambda: opened.read("fitted.pkl"), lambda: opened.read("no.such")):
        assert refused(deed).code == "bundle-missing"
    assert "fitted.pkl" in refused(lambda: bundles.open(digest)).why


@pytest.mark.parametrize("name", ["code/models/lazy.py", "code/models/.hidden", "code/models/__pycache__/m.pyc"])
def test_a_file_that_the_manifest_does_not_name_is_refused(bundles: Bundles, staging: Path, name: str) -> None:
    """A lazy import could pick it up; the error says which to remove."""
    digest = bundles.put(staging, facts=FACTS)
    filled(folder_of(bundles, digest), {name: b"print('not verified')"})

    error = refused(lambda: bundles.open(digest))

    assert error.code == "bundle-changed"
    assert name in error.mend


def test_a_link_is_refused(bundles: Bundles, staging: Path, tmp_path: Path) -> None:
    """Even one that leads to the right content: what it leads to can change. A linked folder too."""
    digest = bundles.put(staging, facts=FACTS)
    folder = folder_of(bundles, digest)
    for name in ("fitted.pkl", "code", MANIFEST):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
        assert refused(lambda: bundles.open(digest)).code in ("bundle-path", "bundle-missing")
        (folder / name).unlink()
        (tmp_path / name).rename(folder / name)

    bundles.open(digest)


@pytest.mark.parametrize(
    "name",
    ["../out.py", "a/../../out.py", "/etc/passwd", "a//b", "./a", "a/.", "", ".", "..", "c:x", "a\\..\\b", "a\0b"],
)
def test_a_manifest_that_leads_out_is_refused(bundles: Bundles, name: str) -> None:
    """Names that leave the folder, or that another system would read otherwise, are refused before any is opened."""
    out = b"print('outside')"
    described = {"sha256": hashlib.sha256(out).hexdigest(), "size": len(out)}
    digest = planted(bundles, {}, files={name: described})
    filled(bundles._root, {"out.py": out})

    assert refused(lambda: bundles.open(digest)).code == "bundle-path"


def test_a_newer_format_is_refused(bundles: Bundles) -> None:
    """Whatever else it holds: the error says to upgrade."""
    digest = planted(bundles, {}, manifest={"format": FORMAT + 1, "parts": []})

    error = refused(lambda: bundles.open(digest))

    assert error.code == "bundle-too-new"
    assert error.mend == "upgrade perene"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"[]", b"1", b"{}", b'{"format": "1"}', b'{"format": true, "files": {}}', b'{"format": 0}',
        b'{"format": 1}', b'{"format": 1, "files": ["a"]}', b'{"format": 1, "files": {"a": "b"}}',
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused(bundles: Bundles, content: bytes) -> None:
    """One whose digest is right but which says no format or no files is refused as such, not with a stumble."""
    digest = hashlib.sha256(content).hexdigest()
    filled(bundles._root / digest[:2] / digest, {MANIFEST: content})

    assert refused(lambda: bundles.open(digest)).code == "bundle-manifest"


def test_a_manifest_under_another_digest_is_refused(bundles: Bundles) -> None:
    """A sound bundle in the folder of another digest is not that bundle."""
    digest = planted(bundles, {"a": b"x"})
    other = "0" * 64
    shutil.copytree(folder_of(bundles, digest), bundles._root / "00" / other)

    assert refused(lambda: bundles.open(other)).code == "bundle-changed"


@pytest.mark.parametrize("digest", ["0" * 64, "", "0" * 63, "../" + "0" * 61, "A" * 64, "0" * 64 + "\n"])
def test_what_is_not_there_is_refused(bundles: Bundles, digest: str) -> None:
    """An unknown digest, and what is no digest at all."""
    assert refused(lambda: bundles.open(digest)).code == "bundle-missing"


def test_what_cannot_be_read_is_refused(bundles: Bundles, staging: Path) -> None:
    """The error is of the bundle, and names the file."""
    digest = bundles.put(staging, facts=FACTS)
    opened = bundles.open(digest)
    (opened.folder / "fitted.pkl").unlink()
    (opened.folder / "fitted.pkl").mkdir()

    for deed in (lambda: bundles.open(digest), lambda: opened.read("fitted.pkl")):
        assert "fitted.pkl" in refused(deed).why


@given(kind=st.sampled_from(["flip", "cut", "remove", "add", "manifest"]), at=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_put_replaces_a_damaged_bundle(tmp_path_factory: pytest.TempPathFactory, kind: str, at: int) -> None:
    """However it was damaged, the next put of the same content makes it whole; the damaged one is kept aside."""
    root = tmp_path_factory.mktemp("damaged")
    bundles, staging = Bundles(root / "bundles"), filled(root / "staging", FILES)
    digest = bundles.put(staging, facts=FACTS)
    folder = folder_of(bundles, digest)
    names = [MANIFEST] if kind == "manifest" else sorted(name for name in FILES if FILES[name])
    path = folder / names[at % len(names)]
    content = path.read_bytes()
    match kind:
        case "remove":
            path.unlink()
        case "add":
            path.with_suffix(".more").write_bytes(b"x")
        case "cut":
            path.write_bytes(content[: at % len(content)])
        case _:
            spot = at % len(content)
            path.write_bytes(content[:spot] + bytes([content[spot] ^ 0x20]) + content[spot + 1 :])
    refused(lambda: bundles.open(digest))

    assert bundles.put(staging, facts=FACTS) == digest

    bundles.open(digest)
    assert len(list((root / "bundles" / ".damaged").iterdir())) == 1
