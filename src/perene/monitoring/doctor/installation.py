"""Whether Python and the installed packages are those that perene is made for. Imports the standard library only."""

from __future__ import annotations

import importlib
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version

from perene.monitoring.doctor.attempts import broken, fine, warning
from perene.records.finding import Finding

# What a wheel of another version or platform breaks is seen when it is imported.
_LOADED = ("numpy", "polars", "deltalake", "pydantic", "sqlalchemy", "scipy", "msgspec", "uvicorn", "starlette")
_LEAST_FILES = 1024  # descriptors that a server with some hundred connections and its tables need

_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*)(?:;(.*))?$")
_SYSTEM = re.compile(r"sys_platform\s*(==|!=)\s*[\"'](\w+)")
_BOUND = re.compile(r"(>=|<=|==|!=|<|>)\s*([0-9][0-9.]*)")


def check_installation() -> Iterator[Finding]:
    """Python, the packages, and what the system lets a process have."""
    told = distribution("perene").metadata
    wanted, here = str(told["Requires-Python"] or ""), platform.python_version()
    if fits(here, wanted):
        yield fine("python", f"Python {here}, {platform.system()} {platform.machine()}")
    else:
        mend = "make an environment of a Python that is supported, and install perene there"
        yield broken("python", f"Python {here} is not supported", why=f"perene needs {wanted}", mend=mend)
    yield _packages()
    yield from _files()


def _packages() -> Finding:
    wrong = [*unfit(distribution("perene").requires or []), *_not_loaded()]
    if wrong:
        mend = "pip install --force-reinstall perene"
        return broken(
            "packages", f"perene {version('perene')} lacks what it stands on", why="; ".join(wrong), mend=mend
        )
    return fine("packages", f"perene {version('perene')}, polars {version('polars')}, deltalake {version('deltalake')}")


def unfit(requirements: list[str]) -> Iterator[str]:
    """What is missing of the requirements of a package, or has another version than they allow. Extras do not count."""
    for text in requirements:
        found = _REQUIREMENT.match(text)
        if found is None or not _holds(found[3] or ""):
            continue
        name, wanted = found[1], found[2].strip()
        try:
            here = version(name)
        except PackageNotFoundError:
            yield f"{name} is not installed"
            continue
        if not fits(here, wanted):
            yield f"{name} is {here}, and {wanted} is needed"


def _holds(marker: str) -> bool:
    """Whether a requirement holds here, as far as perene's own say it: no extra, and this system."""
    system = _SYSTEM.search(marker)
    return "extra" not in marker and (system is None or (sys.platform == system[2]) == (system[1] == "=="))


def fits(here: str, wanted: str) -> bool:
    """Whether a version lies in the bounds of a requirement, as ``>=3.11,<3.14``."""
    for sign, bound in _BOUND.findall(wanted):
        width = bound.count(".") + 1
        mine, other = _numbers(here), _numbers(bound)
        order = (mine > other) - (mine < other)
        same = mine[:width] == other[:width]
        kept = {">=": order >= 0, "<=": order <= 0 or same, "==": same, "!=": not same, "<": order < 0, ">": order > 0}
        if not kept[sign]:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:4])


def _not_loaded() -> Iterator[str]:
    for name in _LOADED:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a broken wheel can raise anything
            yield f"{name} cannot be imported: {type(error).__name__}: {error}"


def _files() -> Iterator[Finding]:
    """How many files a process may have open, where that is few."""
    import resource

    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= allowed < _LEAST_FILES:
        more = _LEAST_FILES if most < 0 else min(_LEAST_FILES, most)
        what = f"a process may have {allowed} files open, which is few for a server with many connections"
        yield warning("open files", what, mend=f"ulimit -n {more}")
