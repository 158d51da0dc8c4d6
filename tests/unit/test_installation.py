"""Which versions fit a requirement, and what is told of those that do not."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from perene.monitoring.doctor.installation import fits, unfit


@pytest.mark.parametrize(
    ("here", "wanted", "does"),
    [
        ("3.11.7", ">=3.11,<3.14", True), ("3.14.0", ">=3.11,<3.14", False), ("3.10.12", ">=3.11,<3.14", False),
        ("3.13.1rc1", ">=3.11,<3.14", True), ("2.1.0", ">=2.1", True), ("2.0.9", ">=2.1", False),
        ("10.0", ">=9.5", True), ("0.0.3", "==0.0.3", True), ("0.0.4", "==0.0.3", False), ("1.6.6", "", True),
        ("2.2.6+cpu", ">=2.2", True), ("1.0", "!=1.0", False),
    ],
)  # fmt: skip
def test_a_version_fits_the_bounds_that_it_lies_in(here, wanted, does) -> None:
    """Numbers are compared as numbers, part by part."""
    assert fits(here, wanted) is does


def test_what_does_not_fit_is_named() -> None:
    """A package that is missing or too old is told with what is needed; extras and other systems do not count."""
    wrong = unfit(
        ["polars>=999", "nowhere>=1", "numpy>=2", 'absent>=1; extra == "x"', "absent>=1; sys_platform == 'win32'"]
    )

    assert list(wrong) == [f"polars is {version('polars')}, and >=999 is needed", "nowhere is not installed"]


def test_a_package_that_cannot_be_imported_is_a_finding(tmp_path) -> None:
    """With a broken wheel the doctor still says which it is, and the exit code is 1."""
    (tmp_path / "deltalake.py").write_text("raise ImportError('undefined symbol: PyUnicode_AsUTF8')\n")

    run = subprocess.run(
        [sys.executable, "-m", "perene.cli", "doctor"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip

    assert (run.returncode, run.stderr) == (1, "")
    packages = next(line for line in run.stdout.splitlines() if line.startswith("packages\tbroken"))
    assert "deltalake cannot be imported: ImportError: undefined symbol" in packages
    assert "pip install" in packages


def test_few_files_are_a_warning() -> None:
    """A process that may have few files open is told so, and how to get more."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096));"
        "from perene.cli import main; sys.exit(main(['doctor']))"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout

    (line,) = [line.split("\t") for line in said.splitlines() if line.startswith("open files")]
    assert line[1] == "warning"
    assert line[4] == "ulimit -n 1024"
