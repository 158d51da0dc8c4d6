"""Projects: a folder with perene.toml and the files of its models."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from perene.definition.model import Model
from perene.definition.settings import FILE, Settings, find_project, load_settings
from perene.definition.spelling import did_you_mean, no_model
from perene.errors import DeclarationError, Mistake, SettingsError

__all__ = ["Project", "find_project", "load_project"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A folder, its settings, and its models by name; every one of them is sound.

    ``modules`` names, for each model, the module that declares it.
    """

    folder: Path
    settings: Settings
    models: Mapping[str, Model]
    modules: Mapping[str, str]

    def model(self, name: str) -> Model:
        """The model of a name. Raises NotFound with the names that exist."""
        if name not in self.models:
            raise no_model(name, list(self.models))
        return self.models[name]


def load_project(folder: Path, *, environment: str | None = None, variables: Mapping[str, str]) -> Project:
    """The project in a folder.

    Its model files are imported as modules named by their path (``models/late_arrival.py`` is
    ``models.late_arrival``), with the folder first on ``sys.path``; modules of the same names from another project
    are forgotten.

    Raises:
        SettingsError: perene.toml is wrong, or its ``models`` match no file.
        DeclarationError: with every mistake of every model, and every file that cannot be imported.
    """
    folder = folder.resolve()
    settings = load_settings(folder, environment=environment, variables=variables)
    files = _model_files(folder, settings)
    _prefer(folder)
    mistakes: list[Mistake] = []
    models: dict[str, Model] = {}
    modules: dict[str, str] = {}
    for file in files:
        module = _imported(folder, file, mistakes)
        for model in _models_of(module):
            other = models.setdefault(model.name, model)
            if other is not model:
                what = f"the model {model.name} is declared at {other.line} too"
                mistakes += [Mistake(where=model.line, what=what), *model.mistakes]
            elif module is not None and (model.name not in modules or _stands_in(model, _relative(file, folder))):
                modules[model.name] = module.__name__
    _override(models, settings, are_all=not mistakes)
    for model in models.values():
        mistakes += model.mistakes
        model.folder = folder
    if mistakes:
        raise DeclarationError("the project's models are declared wrong", tuple(mistakes))
    return Project(folder=folder, settings=settings, models=dict(sorted(models.items())), modules=modules)


def _model_files(folder: Path, settings: Settings) -> list[Path]:
    files: dict[Path, None] = {}
    missing = []
    for pattern in settings.models:
        found = matching_files(folder, pattern)
        files |= dict.fromkeys(found)
        if not found:
            missing.append(Mistake(where="models", what=f"{pattern!r} matches no Python file in the project's folder"))
    if missing:
        raise SettingsError(f"{FILE} names no model files", tuple(missing))
    return list(files)


def matching_files(folder: Path, pattern: str) -> list[Path]:
    """The Python files in a project's folder that a pattern of ``models`` names."""
    if _is_outside(pattern):
        return []
    try:
        return [file for file in sorted(folder.glob(pattern)) if file.suffix == ".py" and file.is_file()]
    except (ValueError, IndexError):  # no pattern: "a**", "."
        return []


def imported_files(folder: Path) -> list[Path]:
    """The files of a project's own that this process has imported."""
    places = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    files = [Path(place) for place in places if place and place.startswith(f"{folder}/")]
    return [file for file in files if not _is_foreign(file.relative_to(folder))]


def _is_outside(pattern: str) -> bool:
    return pattern.startswith(("/", "~")) or ".." in Path(pattern).parts


def _prefer(folder: Path) -> None:
    """Put the folder first on ``sys.path``, and forget another project's modules that have the names of this one's."""
    place = str(folder)
    if sys.path[:1] != [place]:
        sys.path[:] = [place, *(other for other in sys.path if other != place)]
    own = {
        path.stem if path.suffix == ".py" else path.name
        for path in folder.iterdir()
        if path.is_dir() or path.suffix == ".py"
    }
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in own and _is_of_another_project(module, folder):
            del sys.modules[name]
    importlib.invalidate_caches()


def _is_of_another_project(module: ModuleType, folder: Path) -> bool:
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    return any(_home(Path(place)) not in (None, folder) for place in places if place)


def _home(place: Path) -> Path | None:
    """The folder of the project that a file belongs to."""
    if "site-packages" in place.parts:
        return None
    try:
        return find_project(place.parent)
    except SettingsError:
        return None


def _imported(folder: Path, file: Path, mistakes: list[Mistake]) -> ModuleType | None:
    shown = _relative(file, folder)
    parts = file.relative_to(folder).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    try:
        module = importlib.import_module(name)
    except DeclarationError as error:
        mistakes += error.mistakes
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's file runs here; what it raises is a mistake
        what = f"{name} cannot be imported: {type(error).__name__}: {error}"
        mistakes.append(Mistake(where=_line_of(error, folder, shown), what=what, mend=_mend(error, name)))
    else:
        place = getattr(module, "__file__", None)
        if place is not None and Path(place).resolve() == file.resolve():
            return module
        what = f"{name} is the name of another module, {place or 'which is part of Python'}"
        mistakes.append(Mistake(where=shown, what=what, mend="rename the file"))
    return None


def _mend(error: BaseException, name: str) -> str:
    if "libgomp" in str(error):
        return "apt-get install libgomp1"  # LightGBM's wheel needs the system's
    if isinstance(error, ModuleNotFoundError) and error.name == name and "." in name:
        package = name.rpartition(".")[0].replace(".", "/")
        return f"an installed package has the name of its folder: put an empty __init__.py into {package}"
    return ""


def _line_of(error: BaseException, folder: Path, otherwise: str) -> str:
    """The last line of the project's own files that an error came through."""
    lines = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((Path(error.filename), error.lineno))
    for place, line in reversed(lines):
        if place.is_relative_to(folder) and not _is_foreign(place.relative_to(folder)):
            return f"{_relative(place, folder)}:{line}"
    return otherwise


def _is_foreign(place: Path) -> bool:
    """Whether a file of the folder is no code of the user's: a virtual environment's, mostly."""
    return "site-packages" in place.parts or any(part.startswith(".") for part in place.parts)


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _models_of(module: ModuleType | None) -> Iterator[Model]:
    seen: set[int] = set()
    for value in vars(module).values() if module else ():
        if isinstance(value, Model) and id(value) not in seen:
            seen.add(id(value))
            yield value


def _stands_in(model: Model, file: str) -> bool:
    """Whether a file declares a model, and does not only import it."""
    return model.line.rpartition(":")[0] == file


def as_set(model: Model, settings: Settings) -> Model:
    """A model as the settings change it. Raises ValueError where they have no value for it."""
    for setting, value in settings.overrides.get(model.name, {}).items():
        model = model.overridden(setting, value)
    return model


def _override(models: dict[str, Model], settings: Settings, *, are_all: bool) -> None:
    """Change the models as the settings say. Unless they are all there, those that are not known are passed over."""
    mistakes = []
    for name, terms in settings.overrides.items():
        if name not in models:
            if are_all:
                mistakes.append(
                    Mistake(where=f"model.{name}", what=f"there is no such model{did_you_mean(name, models)}")
                )
            continue
        for setting, value in terms.items():
            try:
                models[name] = models[name].overridden(setting, value)
            except ValueError as error:
                mistakes.append(Mistake(where=f"model.{name}.{setting}", what=str(error)))
    if mistakes:
        raise SettingsError(f"{FILE} is not right", tuple(mistakes))
