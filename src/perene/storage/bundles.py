"""Bundles: the files of model versions, each folder named by the SHA-256 of its manifest.

The manifest lists every file with its size and SHA-256, so a bundle's digest proves its whole content, and a digest
that the database holds is the only way to one. A bundle is verified before anything in it is imported or unpickled.

``<root>/<two digits>/<digest>/`` are the bundles, ``.putting/`` is one that is being written, ``.damaged/`` has those
that a put found damaged and wrote again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from perene.errors import BundleError, StorageError
from perene.storage.hashing import sha256_of

FORMAT = 1
MANIFEST = "manifest.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PUTTING, _DAMAGED = ".putting", ".damaged"
_BYTECODE = "__pycache__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified bundle: its folder, and the manifest with the format, the files and the facts of the version."""

    digest: str
    folder: Path
    manifest: Mapping[str, Any]

    def read(self, name: str) -> bytes:
        """The bytes of a file, verified as they are read.

        Raises:
            BundleError: the file is not in the manifest, or not what it says.
        """
        if name not in self.manifest["files"]:
            raise _refused(self.digest, f"it has no {name}", code="bundle-missing")
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise _unreadable(self.digest, name, error) from error
        if hashlib.sha256(content).hexdigest() != self.manifest["files"][name]["sha256"]:
            raise _refused(self.digest, f"{name} has been changed", code="bundle-changed")
        return content


class Bundles:
    """The bundles of a project, in one folder of a local disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, staging: Path, *, facts: Mapping[str, object]) -> str:
        """Keep the files of a folder with the facts of their version; returns the digest.

        The same content again changes nothing. The bundle is on the disk (fsync) and whole, or not there at all; a
        damaged one of this digest gives way. Bytecode that an import left in the folder is not kept.

        Raises:
            StorageError: it could not be written, or a file has a name that no bundle can have ("bundle-path").
        """
        try:
            files = {name: _described(staging / name) for name in sorted(_files(staging))}
            for name in files:
                _ensure_keepable(name)
            manifest = json.dumps(
                {**facts, "format": FORMAT, "files": files}, sort_keys=True, indent=1, allow_nan=False
            )
            digest = hashlib.sha256(manifest.encode()).hexdigest()
            with self._turn():
                if not self._is_whole(digest):
                    self._write(staging, digest, files=files, manifest=manifest.encode())
        except OSError as error:
            mend = f"see that {self._root} can be written and that its disk has room"
            raise StorageError("a bundle cannot be written", why=str(error), mend=mend) from error
        return digest

    def open(self, digest: str) -> Bundle:
        """The bundle with this digest, every file of it verified.

        Raises:
            BundleError: it is not there, was made by a newer perene, or differs from what the digest says.
        """
        manifest = self._manifest(digest)
        folder = self._folder(digest)
        files: Mapping[str, Any] = manifest["files"]
        for name in files:
            _ensure_inside(digest, name)
        _ensure_exactly(digest, folder, set(files))
        bundle = Bundle(digest=digest, folder=folder, manifest=manifest)
        for name, described in files.items():
            _verify(bundle, name, described)
        return bundle

    def _folder(self, digest: str) -> Path:
        return self._root / digest[:2] / digest

    def _manifest(self, digest: str) -> dict[str, Any]:
        if not _DIGEST.fullmatch(digest):
            raise _refused(digest, "this is no digest", code="bundle-missing")
        try:
            content = (self._folder(digest) / MANIFEST).read_bytes()
        except OSError as error:
            why = f"{self._folder(digest)} is not there" if isinstance(error, FileNotFoundError) else str(error)
            raise _refused(digest, why, code="bundle-missing") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise _refused(digest, f"{MANIFEST} has been changed", code="bundle-changed")
        return _checked(digest, content)

    def _is_whole(self, digest: str) -> bool:
        try:
            self.open(digest)
        except BundleError:
            return False
        return True

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One put at a time, of all processes; what a killed one left half written goes."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(self._root / _PUTTING, ignore_errors=True)
            try:
                yield
            finally:
                shutil.rmtree(self._root / _PUTTING, ignore_errors=True)

    def _write(self, staging: Path, digest: str, *, files: Mapping[str, object], manifest: bytes) -> None:
        """Copy into a folder beside, flush it, then rename it to its name."""
        target, beside = self._folder(digest), self._root / _PUTTING
        for name, described in files.items():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(staging / name, beside / name)
            if _described(beside / name) != described:
                raise StorageError("a bundle cannot be written", why=f"{name} changed meanwhile", mend="run it again")
        beside.mkdir(exist_ok=True)
        (beside / MANIFEST).write_bytes(manifest)
        _flush(beside)
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            (self._root / _DAMAGED).mkdir(exist_ok=True)
            target.rename(self._root / _DAMAGED / f"{digest}-{uuid4().hex}")
        beside.rename(target)
        _flush_folder(target.parent)
        _flush_folder(self._root)


def _checked(digest: str, content: bytes) -> dict[str, Any]:
    """A manifest of this format, or of one before; the digest says that it is the right one, not that it is sound."""
    try:
        manifest: dict[str, Any] = json.loads(content)
    except ValueError as error:
        raise _refused(digest, f"{MANIFEST} is no JSON: {error}", code="bundle-manifest") from error
    number = manifest.get("format") if isinstance(manifest, dict) else None
    if type(number) is not int or number < 1:
        raise _refused(digest, f"{MANIFEST} has no format number", code="bundle-manifest")
    if number > FORMAT:
        why = f"its format is {number}, and this perene reads up to {FORMAT}"
        raise _refused(digest, why, mend="upgrade perene", code="bundle-too-new")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(described, dict) for described in files.values()):
        raise _refused(digest, f"{MANIFEST} does not say which files there are", code="bundle-manifest")
    return manifest


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and _BYTECODE not in name.parts:
            yield name.as_posix()


def _described(path: Path) -> dict[str, object]:
    return {"sha256": sha256_of(path), "size": path.stat().st_size}


def _is_plain(name: str) -> bool:
    """Whether a name stays inside of its bundle, and means the same to every system."""
    path = PurePosixPath(name)
    inside = name not in ("", ".") and path.as_posix() == name and not path.is_absolute() and ".." not in path.parts
    return inside and not any(odd in name for odd in "\\:\0") and name != MANIFEST


def _ensure_keepable(name: str) -> None:
    if not _is_plain(name):
        raise StorageError(
            f"the file {name!r} cannot be kept in a bundle",
            why=f"{MANIFEST} is the bundle's own" if name == MANIFEST else "its name means something else elsewhere",
            mend="rename it, or leave it out of bundle.include",
            code="bundle-path",
        )


def _ensure_inside(digest: str, name: str) -> None:
    if not _is_plain(name):
        raise _refused(digest, f"its manifest names the file {name!r}", code="bundle-path")


def _ensure_exactly(digest: str, folder: Path, names: set[str]) -> None:
    """Refuse links, missing files, and files that the manifest does not name: a lazy import could pick them up."""
    there = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise _refused(digest, f"{name} is a link", code="bundle-path")
        if path.is_file():
            there.add(name)
    if missing := sorted(names - there):
        raise _refused(digest, f"{missing[0]} is missing", code="bundle-missing")
    if extra := sorted(there - names - {MANIFEST}):
        mend = f"remove {folder / extra[0]}"
        raise _refused(digest, f"{extra[0]} does not belong to it", mend=mend, code="bundle-changed")


def _verify(bundle: Bundle, name: str, described: Mapping[str, object]) -> None:
    try:
        now = _described(bundle.folder / name)
    except OSError as error:
        raise _unreadable(bundle.digest, name, error) from error
    if now != described:
        raise _refused(bundle.digest, f"{name} has been changed", code="bundle-changed")


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            _flush_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unreadable(digest: str, name: str, error: OSError) -> BundleError:
    return _refused(digest, f"{name} cannot be read: {error.strerror}", code="bundle-missing")


def _refused(digest: str, why: str, *, code: str, mend: str = "") -> BundleError:
    mend = mend or "restore the folder from a backup, or train and release again"
    return BundleError(f"the bundle {digest[:12]} cannot be used", why=why, mend=mend, code=code)
