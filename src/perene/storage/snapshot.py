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
import pickle
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import resolve_name
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from perene.errors import Mistake, SettingsError
from perene.records.identity import digest_of
from perene.storage.hashing import sha256_of

SMALL = 1 << 20  # bytes; larger data files only when ``bundle.include`` names them
_PREFIX = "perene_snapshot_"
_NOT_CODE = {"__pycache__", "node_modules", "site-packages"}
_numbers = itertools.count(1)


def snapshot(project: Path, include: Sequence[str], to: Path) -> str:
    """Copy a project's Python files, the small data files of the folders that hold them, and what ``include`` names.

    ``include`` are globs. Hidden files and folders, virtual environments and the like are left out, unless a pattern
    names them. Links are copied as what they lead to.

    Returns:
        The digest of the code: of the paths and contents of all files.

    Raises:
        SettingsError: a pattern of ``include`` matches nothing, or leads out of the project.
    """
    files = {path.relative_to(project).as_posix(): path for path in _files(project)}
    for pattern in include:
        files |= {path.relative_to(project).as_posix(): path for path in _included(project, pattern)}
    for name, path in files.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to / name)
    return digest_of({name: sha256_of(to / name) for name in files})


def imported_packages(project: Path) -> list[str]:
    """The modules that a project's files import, at the top or in functions: neither its own nor Python's."""
    files = [path for path in _files(project) if path.suffix == ".py"]
    own = {path.relative_to(project).parts[0].removesuffix(".py") for path in files}
    found = set[str]()
    for file in files:
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
    modules instead, and should be given ``__name__`` or ``__file__``. ``read`` gives the bytes of a file of the
    snapshot, so that one that is imported late is verified too.
    """

    def __init__(
        self,
        folder: Path,
        digest: str,
        *,
        roots: Sequence[str] = ("",),
        read: Callable[[Path], bytes] = Path.read_bytes,
    ) -> None:
        self._read = read
        self._roots = [str(folder / root) for root in roots if (folder / root).is_dir()]
        self._tops = {top for root in self._roots for top in _tops(Path(root))}
        self.package = f"{_PREFIX}{digest[:12]}_{next(_numbers)}"
        self._modules = {self.package: ModuleType(self.package)}
        self._modules[self.package].__path__ = self._roots
        self._enter()

    def import_module(self, name: str) -> ModuleType:
        """Import a module of the snapshot by the name that it has in the project."""
        self._enter()
        return importlib.import_module(f"{self.package}.{name}")

    def has(self, name: str) -> bool:
        """Whether a module of this name is the project's."""
        return name.partition(".")[0] in self._tops

    def unpickle(self, content: bytes) -> Any:
        """Read a pickle; classes and functions of project modules are the snapshot's.

        It may have been written where the project, or any snapshot of it, was loaded. It runs code: verify it first.
        """
        return _Unpickler(io.BytesIO(content), self).load()

    def forget(self) -> None:
        """Take the modules out of ``sys.modules``. What still refers to them goes on working, its lazy imports too."""
        _finder.loaded.pop(self.package, None)
        mine = [name for name in sys.modules if name == self.package or name.startswith(f"{self.package}.")]
        self._modules |= {name: sys.modules.pop(name) for name in mine}

    def _enter(self) -> None:
        """Be in ``sys.modules``: at first, and again where forgotten code imports something."""
        if self.package in sys.modules:
            return
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        _finder.loaded[self.package] = _Source(vars(builtins) | {"__import__": self._import}, self._read)
        sys.modules.update(self._modules)

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What the snapshot's import statements call."""
        self._enter()
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
        whole = resolve_name(name, package)
        return self.import_module(whole) if self.has(whole) else importlib.import_module(whole)


class _Unpickler(pickle.Unpickler):
    """Finds classes of project modules in a snapshot."""

    def __init__(self, file: io.BytesIO, modules: SnapshotModules) -> None:
        super().__init__(file)
        self._modules = modules

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name.startswith(_PREFIX):
            module_name = module_name.partition(".")[2]
        if self._modules.has(module_name):
            self._modules.import_module(module_name)
            module_name = f"{self._modules.package}.{module_name}"
        return super().find_class(module_name, global_name)


class _Source(NamedTuple):
    """The builtins of a snapshot's modules, and what reads its files."""

    builtins: dict[str, Any]
    read: Callable[[Path], bytes]


class _Finder(MetaPathFinder):
    """Finds the modules of every loaded snapshot, which are known by their private packages."""

    def __init__(self) -> None:
        self.loaded: dict[str, _Source] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The file, package or folder that a private name stands for."""
        own = self.loaded.get(fullname.partition(".")[0])
        if own is None:
            return None
        places = [Path(entry) / fullname.rpartition(".")[2] for entry in path or ()]
        for place in places:
            file, package = place.with_suffix(".py"), place / "__init__.py"
            if package.is_file():
                return _spec(fullname, package, own, inside=place)
            if file.is_file():
                return _spec(fullname, file, own)
        folders = [str(place) for place in places if place.is_dir()]
        if not folders:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = folders
        return spec


class _Loader(SourceFileLoader):
    """Runs a file of a snapshot with the snapshot's builtins; reads and writes no bytecode."""

    def __init__(self, name: str, path: str, own: _Source) -> None:
        super().__init__(name, path)
        self._own = own

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file as it is."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self._own.read(Path(path)), path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        """Run it."""
        vars(module)["__builtins__"] = self._own.builtins
        super().exec_module(module)


def _spec(name: str, file: Path, own: _Source, *, inside: Path | None = None) -> ModuleSpec:
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
        elif path.name.isidentifier() and path.is_dir() and _has_modules(path):
            yield path.name


def _has_modules(folder: Path) -> bool:
    """Whether a folder is a package. One without ``__init__.py`` gives way to an installed one, as everywhere."""
    if (folder / "__init__.py").is_file():
        return True
    return any(folder.rglob("*.py")) and not _is_installed(folder.name)


def _is_installed(name: str) -> bool:
    """Whether Python or an installed package has a module of this name."""
    spec = PathFinder.find_spec(name, [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    return name in sys.stdlib_module_names or (spec is not None and spec.origin is not None)


def _files(project: Path, folder: Path | None = None, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """The files that belong to the code, of a folder and those below. ``above``: a link back to one would never end."""
    folder = folder or project
    above |= {folder.resolve()}
    try:
        here = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except PermissionError:
        return  # nobody could import anything from there
    files = [path for path in here if path.is_file()]
    has_code = any(path.suffix == ".py" for path in files)
    yield from (path for path in files if path.suffix == ".py" or (has_code and _is_data(path, project)))
    for path in here:
        if path.is_dir() and not _is_foreign(path) and path.resolve() not in above:
            yield from _files(project, path, above)


def _is_foreign(folder: Path) -> bool:
    """Whether a folder holds what belongs to others: hidden ones, environments, caches."""
    environment = (folder / "pyvenv.cfg").exists() or (folder / "conda-meta").exists()
    return folder.name.startswith(".") or folder.name in _NOT_CODE or environment


def _is_data(path: Path, project: Path) -> bool:
    """A small file beside code. Those of the project's own folder are settings and papers, which may hold secrets."""
    return path.parent != project and path.suffix != ".pyc" and path.stat().st_size <= SMALL


def _included(project: Path, pattern: str) -> list[Path]:
    named = Path(pattern).parts
    if Path(pattern).is_absolute() or ".." in named:
        raise _bad_pattern(pattern, "leads out of the project")
    found = list(project.glob(pattern)) if named else []
    found += [inner for path in found if path.is_dir() for inner in path.rglob("*")]
    files = [path for path in found if path.is_file() and not _is_kept_out(path, project, named)]
    if not files:
        raise _bad_pattern(pattern, "matches no file")
    return files


def _bad_pattern(pattern: str, what: str) -> SettingsError:
    mistake = Mistake(where="bundle.include", what=f"{pattern!r} {what}")
    return SettingsError("perene.toml is not right", (mistake,), mend="correct bundle.include, then train again")


def _is_kept_out(path: Path, project: Path, named: Sequence[str]) -> bool:
    """Whether a file is hidden, or lies in a foreign folder, and the pattern does not name that."""
    folders = [folder for folder in path.parents if folder.is_relative_to(project) and folder != project]
    if any(_is_foreign(folder) and folder.name not in named for folder in folders):
        return True
    return path.name.startswith(".") and not named[-1].startswith(".")
