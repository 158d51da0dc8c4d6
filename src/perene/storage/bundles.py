"""Bundles: the files of model versions, each folder named by the SHA-256 of its manifest.

The manifest lists every file with its size and SHA-256, so a bundle's digest proves its whole content, and a digest
that the database holds is the only way to one. A bundle is verified before anything in it is imported or unpickled.
"""

from __future__ import annotations

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

FORMAT = 1
MANIFEST = "manifest.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")


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
            raise _refused(self.digest, f"it has no {name}", code="bundle-missing-file")
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise _refused(self.digest, f"{name} cannot be read: {error.strerror}", code="bundle-missing-file") from error
        if hashlib.sha256(content).hexdigest() != self.manifest["files"][name]["sha256"]:
            raise _refused(self.digest, f"{name} has been changed", code="bundle-changed")
        return content


class Bundles:
    """The bundles of a project, in one folder of a local disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, staging: Path, *, facts: Mapping[str, object]) -> str:
        """Keep the files of a folder with the facts of their version; returns the digest.

        The same content again changes nothing. The bundle is on the disk (fsync) and whole, or not there at all.

        Raises:
            StorageError: it could not be written.
        """
        files = {name: _described(staging / name) for name in sorted(_files(staging))}
        manifest = json.dumps({**facts, "format": FORMAT, "files": files}, sort_keys=True, indent=1, allow_nan=False)
        digest = hashlib.sha256(manifest.encode()).hexdigest()
        try:
            if not self._is_whole(digest):
                self._write(staging, digest, names=[*files], manifest=manifest.encode())
        except OSError as error:
            what = f"the bundle {digest[:12]} cannot be written"
            mend = f"see that {self._root} can be written and that its disk has room"
            raise StorageError(what, why=str(error), mend=mend) from error
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
        manifest: dict[str, Any] = json.loads(content)
        if manifest["format"] > FORMAT:
            why = f"its format is {manifest['format']}, and this perene reads up to {FORMAT}"
            raise _refused(digest, why, mend="upgrade perene", code="bundle-too-new")
        return manifest

    def _is_whole(self, digest: str) -> bool:
        try:
            self.open(digest)
        except BundleError:
            return False
        return True

    def _write(self, staging: Path, digest: str, *, names: list[str], manifest: bytes) -> None:
        """Copy into a folder beside, flush it, then rename it to its name. A damaged bundle of that name gives way."""
        target = self._folder(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.parent / f".{uuid4().hex}"
        beside.mkdir()
        try:
            for name in names:
                (beside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(staging / name, beside / name)
            (beside / MANIFEST).write_bytes(manifest)
            _flush(beside)
            if target.exists():
                target.rename(target.parent / f".{uuid4().hex}-damaged")
            beside.rename(target)
            _flush_folder(target.parent)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            if not self._is_whole(digest):  # another process may have put the same at the same time
                raise


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def _described(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def _ensure_inside(digest: str, name: str) -> None:
    """Refuse a name that could lead out of the bundle, or that another system reads in another way."""
    path = PurePosixPath(name)
    plain = name and path.as_posix() == name and not path.is_absolute() and ".." not in path.parts
    if not plain or "\\" in name or ":" in name or "\0" in name or name == MANIFEST:
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
        raise _refused(digest, f"{missing[0]} is missing", code="bundle-missing-file")
    if extra := sorted(there - names - {MANIFEST}):
        mend = f"remove {folder / extra[0]}"
        raise _refused(digest, f"{extra[0]} does not belong to it", mend=mend, code="bundle-changed")


def _verify(bundle: Bundle, name: str, described: Mapping[str, object]) -> None:
    if _described(bundle.folder / name) != described:
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


def _refused(digest: str, why: str, *, code: str, mend: str = "") -> BundleError:
    mend = mend or "restore the folder from a backup, or train and release again"
    return BundleError(f"the bundle {digest[:12]} cannot be used", why=why, mend=mend, code=code)
