"""Snapshots of a project's code: how they are taken, and how their modules live beside others of the same names.

A snapshot's modules are in ``sys.modules`` under a private package, one for each loading. Every import of a project
module that they make resolves to the snapshot: relative ones because their package is private; absolute ones, at the
top or inside a function, because their modules' builtins hold an ``__import__`` of their own. Whatever else they
import (packages, the standard library) is shared with the process.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import io
import itertools
import os
import pickle
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from perene.errors import DataError
from perene.records.identity import digest_of
from perene.storage.hashing import sha256_of

SMALL = 1 << 20  # bytes; larger data files only when ``bundle.include`` names them
_PREFIX = "perene_snapshot_"
_NOT_CODE = {"__pycache__", "node_modules", "site-packages"}
_numbers = itertools.count(1)


def snapshot(project: Path, include: Sequence[str], to: Path) -> str:
    """Copy a project's Python files, the small data files of the folders that hold them, and what ``include`` (globs) names.

    Hidden folders and virtual environments are left out. Links are copied as what they lead to.

    Returns:
        The digest of the code: of the paths and contents of all files.

    Raises:
        DataError: a pattern of ``include`` matches nothing, or leads out of the project.
    """
    files = {path.relative_to(project).as_posix(): path for path in _files(project)}
    for pattern in include:
        files |= {path.relative_to(project).as_posix(): path for path in _included(project, pattern)}
    for name, path in files.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to / name)
    return digest_of({name: sha256_of(to / name) for name in files})


def imported_packages(project: Path) -> list[str]:
    """The modules from elsewhere, but the standard library, that a project's files import, at the top or in functions."""
    own, found = set(_tops(project)), set[str]()
    for file in (path for path in _files(project) if path.suffix == ".py"):
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue  # whoever imports the file will say so
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return sorted(name for name in found if name.partition(".")[0] not in own | sys.stdlib_module_names)


class SnapshotModules:
    """The modules of one snapshot, apart from those of every other and from the working tree's.

    ``roots`` are the folders in the snapshot from which imports start, as ``("", "src")``. Modules are read when they
    are first imported; no bytecode is written. ``importlib.import_module`` is replaced where the snapshot's code asks
    ``importlib`` for it; libraries that import by name (``importlib.resources.files("models")``) see the process's
    modules instead, and should be given ``__name__`` or ``__file__``.
    """

    def __init__(self, folder: Path, digest: str, *, roots: Sequence[str] = ("",)) -> None:
        self._roots = [str(folder / root) for root in roots]
        self._tops = {top for root in self._roots for top in _tops(Path(root))}
        self.package = f"{_PREFIX}{digest[:12]}_{next(_numbers)}"
        self._enter()

    def import_module(self, name: str) -> ModuleType:
        """Import a module of the snapshot by the name that it has in the project."""
        if self.package not in sys.modules:
            self._enter()
        return importlib.import_module(f"{self.package}.{name}")

    def has(self, name: str) -> bool:
        """Whether a module of this name is the project's."""
        return name.partition(".")[0] in self._tops

    def unpickle(self, content: bytes) -> Any:
        """Read a pickle, whose classes and functions of project modules are the snapshot's. It runs code: verify it first."""
        return _Unpickler(io.BytesIO(content), self).load()

    def forget(self) -> None:
        """Take the modules out of ``sys.modules``. What still refers to them goes on working."""
        _finder.loaded.pop(self.package, None)
        for name in [name for name in sys.modules if name == self.package or name.startswith(f"{self.package}.")]:
            del sys.modules[name]

    def _enter(self) -> None:
        package = ModuleType(self.package)
        package.__path__ = self._roots
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        _finder.loaded[self.package] = self._builtins()
        sys.modules[self.package] = package

    def _builtins(self) -> dict[str, Any]:
        return vars(builtins) | {"__import__": self._import}

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What the snapshot's import statements call."""
        if level == 0 and self.has(name):
            self.import_module(name)
            if not fromlist:
                return sys.modules[f"{self.package}.{name.partition('.')[0]}"]
            name = f"{self.package}.{name}"
        found = builtins.__import__(name, globals, locals, fromlist or (), level)
        return self._own_importlib() if found is importlib else found

    def _own_importlib(self) -> ModuleType:
        own = ModuleType("importlib")
        vars(own).update(vars(importlib), import_module=self._import_by_name)
        return own

    def _import_by_name(self, name: str, package: str | None = None) -> ModuleType:
        if not name.startswith(".") and self.has(name):
            return self.import_module(name)
        return importlib.import_module(name, package)


class _Unpickler(pickle.Unpickler):
    """Finds classes of project modules in a snapshot."""

    def __init__(self, file: io.BytesIO, modules: SnapshotModules) -> None:
        super().__init__(file)
        self._modules = modules

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if self._modules.has(module_name):
            self._modules.import_module(module_name)
            module_name = f"{self._modules.package}.{module_name}"
        return super().find_class(module_name, global_name)


class _Finder(MetaPathFinder):
    """Finds the modules of every loaded snapshot. ``loaded`` has, by private package, the builtins of its modules."""

    def __init__(self) -> None:
        self.loaded: dict[str, dict[str, Any]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The file, package or folder that a private name stands for."""
        own = self.loaded.get(fullname.partition(".")[0])
        if own is None:
            return None
        for place in (Path(entry) / fullname.rpartition(".")[2] for entry in path or ()):
            file, package = place.with_suffix(".py"), place / "__init__.py"
            if package.is_file():
                return _spec(fullname, package, own, inside=place)
            if file.is_file():
                return _spec(fullname, file, own)
            if place.is_dir():
                folder = ModuleSpec(fullname, None, is_package=True)
                folder.submodule_search_locations = [str(place)]
                return folder
        return None


class _Loader(SourceFileLoader):
    """Runs a file of a snapshot with the snapshot's builtins; reads and writes no bytecode."""

    def __init__(self, name: str, path: str, own: dict[str, Any]) -> None:
        super().__init__(name, path)
        self._own = own

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file as it is."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        """Run it."""
        vars(module)["__builtins__"] = self._own
        super().exec_module(module)


def _spec(name: str, file: Path, own: dict[str, Any], *, inside: Path | None = None) -> ModuleSpec:
    spec = ModuleSpec(name, _Loader(name, str(file), own), origin=str(file), is_package=inside is not None)
    spec.has_location = True
    if inside is not None:
        spec.submodule_search_locations = [str(inside)]
    return spec


_finder = _Finder()


def _tops(folder: Path) -> Iterator[str]:
    """The names under which a folder's code is imported."""
    for path in folder.iterdir():
        if path.suffix == ".py" and path.is_file():
            yield path.stem
        elif path.name.isidentifier() and path.is_dir() and any(path.rglob("*.py")):
            yield path.name


def _files(project: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(project):
        folders[:] = sorted(name for name in folders if not _is_foreign(Path(place) / name))
        here = [Path(place) / name for name in sorted(names) if not name.startswith(".")]
        has_code = any(path.suffix == ".py" for path in here)
        yield from (path for path in here if path.suffix == ".py" or (has_code and _is_data(path, project)))


def _is_foreign(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in _NOT_CODE or (folder / "pyvenv.cfg").exists()


def _is_data(path: Path, project: Path) -> bool:
    """A small file beside code. Those of the project's own folder are settings and papers, which may hold secrets."""
    return path.parent != project and path.suffix != ".pyc" and path.is_file() and path.stat().st_size <= SMALL


def _included(project: Path, pattern: str) -> list[Path]:
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise DataError(f"bundle.include names {pattern!r}", why="it leads out of the project")
    found = [path for path in project.glob(pattern) if path.is_file()]
    found += [file for path in project.glob(pattern) if path.is_dir() for file in path.rglob("*") if file.is_file()]
    if not found:
        raise DataError(f"bundle.include names {pattern!r}", why="it matches no file", mend="correct perene.toml")
    return found
