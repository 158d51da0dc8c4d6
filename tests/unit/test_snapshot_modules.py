"""Modules of snapshots: whatever a snapshot's code imports of its project, it gets from the snapshot."""

from __future__ import annotations

import importlib
import json
import pickle
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from perene.storage.snapshot import SnapshotModules, snapshot

TOPS = ("zoo", "zoo_shared", "random", "zoo_space")  # names that the projects of these tests use


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project."""
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """The process knows neither these projects nor their snapshots before or after a test."""
    path, modules = [*sys.path], {*sys.modules}
    yield
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        if name.partition(".")[0] in TOPS or name.startswith("perene_snapshot_"):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., SnapshotModules]:
    """Take a snapshot of a project as it is now."""
    numbers = iter(range(100))

    def take(project: Path, **options: object) -> SnapshotModules:
        to = tmp_path / f"snapshot-{next(numbers)}"
        return SnapshotModules(
            to, snapshot(project, ["**/*.csv"] if any(project.rglob("*.csv")) else [], to), **options
        )

    return take


def work_on(project: Path) -> None:
    """Let the process import the project as it is, and as it will be."""
    sys.path.insert(0, str(project))
    importlib.invalidate_caches()


# ── the five ways out, each closed ───────────────────────────────────────────────────────────────────────────────────


def test_a_sibling_module_is_the_snapshots(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """Imported at the top, whatever the working tree says by then, and though the process has loaded that."""
    write(project, {"zoo/__init__.py": "", "zoo/late.py": "from zoo_shared import x\n", "zoo_shared.py": "x = 'old'\n"})
    modules = take(project)
    write(project, {"zoo_shared.py": "x = 'new'\n"})
    work_on(project)

    assert importlib.import_module("zoo.late").x == "new"
    assert modules.import_module("zoo.late").x == "old"
    assert importlib.import_module("zoo_shared").x == "new"


def test_a_lazy_import_is_the_snapshots(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """Imported inside a function, long after, when the working tree has changed, or is gone."""
    body = "def f():\n    import zoo_shared\n    from zoo.deep import tool\n    return zoo_shared.x, tool.x\n"
    old = {"zoo/__init__.py": "", "zoo/late.py": body, "zoo/deep/__init__.py": "", "zoo/deep/tool.py": "x = 'old'\n"}
    write(project, old | {"zoo_shared.py": "x = 'old'\n"})
    modules = take(project)
    late = modules.import_module("zoo.late")
    write(project, {"zoo_shared.py": "x = 'new'\n", "zoo/deep/tool.py": "x = 'new'\n"})
    work_on(project)
    importlib.import_module("zoo.deep.tool")
    importlib.import_module("zoo_shared")

    assert late.f() == ("old", "old")
    shutil.rmtree(project)
    assert late.f() == ("old", "old")


def test_a_pickled_class_is_the_snapshots(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """Objects, functions and inner classes that the working tree pickled become the snapshot's, whose code they run."""
    body = (
        "class Scaler:\n    class Inner:\n        pass\n    def __init__(self, by):\n        self.by = by\n"
        "    def go(self):\n        return {!r}, self.by\ndef f():\n    return {!r}\n"
    )
    write(project, {"zoo/late.py": body.format("old", "old")})
    work_on(project)
    tree = importlib.import_module("zoo.late")
    contents = [pickle.dumps([tree.Scaler(3), tree.f, tree.Scaler.Inner, date.max], protocol=p) for p in range(2, 6)]
    modules = take(project)
    write(project, {"zoo/late.py": body.format("newer", "newer")})
    importlib.reload(tree)

    for content in contents:
        scaler, f, inner, other = modules.unpickle(content)
        assert (scaler.go(), f()) == (("old", 3), "old")
        assert type(scaler) is modules.import_module("zoo.late").Scaler
        assert (inner.__qualname__, other) == ("Scaler.Inner", date.max)
        assert pickle.loads(content)[0].go() == ("newer", 3)


def test_a_data_file_is_the_snapshots(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """Found by ``__file__``, at the top and later."""
    body = "from pathlib import Path\nHERE = Path(__file__).parent\nx = (HERE / 'a.csv').read_text()\n"
    write(project, {"zoo/late.py": body + "def f():\n    return (HERE / 'a.csv').read_text()\n", "zoo/a.csv": "old"})
    modules = take(project)
    write(project, {"zoo/a.csv": "new"})

    late = modules.import_module("zoo.late")

    assert (late.x, late.f()) == ("old", "old")


def test_two_snapshots_work_side_by_side(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """Modules of the same names with different code do not meet, lazy imports neither, nor does one loaded twice."""
    body = "import zoo_shared\nkept = []\ndef f():\n    from zoo import other\n    return zoo_shared.x, other.x\n"
    versions = []
    for x in ("one", "two"):
        files = {"zoo/late.py": body, "zoo/other.py": f"x = {x!r}\n", "zoo_shared.py": f"x = {x!r}\n"}
        versions.append(take(write(project, files)))
    one, two = versions
    again = SnapshotModules(Path(one._roots[0]), "0" * 64)
    lates = [modules.import_module("zoo.late") for modules in (one, two, again)]
    lates[0].kept.append(1)

    assert [late.f() for late in lates] == [("one", "one"), ("two", "two"), ("one", "one")]
    assert [late.kept for late in lates] == [[1], [], []]
    assert "zoo" not in sys.modules


# ── every form of import ─────────────────────────────────────────────────────────────────────────────────────────────

FORMS = {
    "plain": "import zoo.deep.tool\nfound = zoo.deep.tool\n",
    "as": "import zoo.deep.tool as found\n",
    "from": "from zoo.deep import tool as found\n",
    "name": "from zoo.deep.tool import me as found\n",
    "star": "from zoo.deep.tool import *\nfound = me\n",
    "beside": "from . import deep\nfound = deep.tool\n",
    "relative": "from .deep import tool as found\n",
    "up": "from .deep.inner import found\n",
    "by name": "import importlib\nfound = importlib.import_module('zoo.deep.tool')\n",
    "by name, from": "from importlib import import_module\nfound = import_module('zoo.deep.tool')\n",
    "by name, as": "import importlib as i\nfound = i.import_module('zoo.deep.tool')\n",
    "by name, relative": "import importlib\nfound = importlib.import_module('.deep.tool', __package__)\n",
    "by name, in a package": "import importlib\nfound = importlib.import_module('..deep.tool', 'zoo.deep')\n",
    "by name, late": "import importlib.util\ndef f():\n    import importlib\n"
    "    return importlib.import_module('zoo.deep.tool')\nfound = f()\n",
    "dunder": "found = __import__('zoo.deep.tool').deep.tool\n",
    "dunder, from": "found = __import__('zoo.deep.tool', fromlist=['me'])\n",
    "executed": "space = {}\nexec('import zoo.deep.tool as found', space)\nfound = space['found']\n",
    "in a class": "class A:\n    from zoo.deep import tool as found\nfound = A.found\n",
    "in a thread": "import threading\nbox = []\ndef f():\n    from zoo.deep import tool\n    box.append(tool)\n"
    "t = threading.Thread(target=f)\nt.start()\nt.join()\nfound = box[0]\n",
    "reloaded": "import importlib\nfrom zoo.deep import tool\nfound = importlib.reload(tool)\n",
}


@pytest.mark.parametrize("packages", [True, False], ids=["packages", "folders"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_import_is_the_snapshots(
    project: Path, take: Callable[..., SnapshotModules], form: str, packages: bool
) -> None:
    """The snapshot's module, and no other, once: in packages, and in folders without ``__init__.py``."""
    files = {
        "zoo/late.py": FORMS[form],
        "zoo/deep/tool.py": "import sys\nwho = 'old'\nme = sys.modules[__name__]\n",
        "zoo/deep/inner.py": "from ..deep.tool import me as found\n",
    }
    if packages:
        files |= {"zoo/__init__.py": "", "zoo/deep/__init__.py": "from . import tool\n"}
    elif form == "beside":
        files["zoo/late.py"] = "from . import deep\nfrom .deep import tool\nfound = deep.tool\n"
    modules = take(write(project, files))
    write(project, {"zoo/deep/tool.py": files["zoo/deep/tool.py"].replace("old", "new")})
    work_on(project)
    tree = importlib.import_module("zoo.deep.tool")

    found = modules.import_module("zoo.late").found

    assert found.who == "old"
    assert found is modules.import_module("zoo.deep.tool")
    assert Path(found.__file__).is_relative_to(modules._roots[0])
    assert tree.who == "new"
    assert sys.modules["zoo.deep.tool"] is tree


def test_what_is_not_the_projects_is_shared(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """Packages and the standard library are those of the process, importlib's other parts too."""
    body = (
        "import json, importlib.util, importlib.machinery as machinery\nimport xml.dom.minidom as dom\nimport pytest\n"
    )
    late = take(write(project, {"zoo/late.py": body})).import_module("zoo.late")

    assert (late.json, late.pytest, late.dom) == (json, pytest, sys.modules["xml.dom.minidom"])
    assert late.importlib.util is importlib.util
    assert late.machinery is sys.modules["importlib.machinery"]


def test_a_project_may_have_a_module_of_pythons_name(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """Its own code gets it; nobody else does."""
    import random

    late = take(write(project, {"zoo/late.py": "import random\nx = random.x\n", "random.py": "x = 'mine'\n"}))

    assert late.import_module("zoo.late").x == "mine"
    assert sys.modules["random"] is random
    assert not hasattr(random, "x")


def test_a_folder_gives_way_to_an_installed_package(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """One without ``__init__.py`` that bears a package's name is not that package, as in the working tree."""
    late = take(
        write(project, {"zoo/late.py": "import pytest\nimport email.message\n", "pytest/x.py": "", "email/x.py": ""})
    )

    assert late.import_module("zoo.late").pytest is pytest
    assert not late.has("pytest")


def test_imports_start_from_every_root(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """A src folder's packages have their own names; a package wins over a folder; a root that is not there is none."""
    files = {"zoo/late.py": "import zoo_shared\n", "src/zoo_shared/__init__.py": "x = 1\n", "zoo_shared/notes.py": ""}
    modules = take(write(project, files), roots=("", "src", "lib"))

    assert modules.import_module("zoo.late").zoo_shared.x == 1
    assert modules.has("zoo_shared")


def test_a_module_that_is_not_there_is_missed_by_name(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """Though the working tree has gained it meanwhile; where a library is optional, ImportError can be caught."""
    body = "try:\n    import no_such_library\nexcept ImportError:\n    pass\ndef f():\n    from zoo import later\n"
    modules = take(write(project, {"zoo/__init__.py": "", "zoo/late.py": body}))
    write(project, {"zoo/later.py": ""})
    work_on(project)

    with pytest.raises(ImportError, match="later"):
        modules.import_module("zoo.late").f()
    with pytest.raises(ModuleNotFoundError, match=r"zoo\.never"):
        modules.import_module("zoo.never")


def test_a_module_that_fails_leaves_nothing(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """Its error names the snapshot's file and line, and the next import fails likewise."""
    modules = take(
        write(project, {"zoo/late.py": "import zoo.other\n", "zoo/other.py": "x = 1\nraise OSError('no')\n"})
    )

    for _ in range(2):
        with pytest.raises(OSError, match="no") as failed:
            modules.import_module("zoo.late")
        lines = [(Path(entry.path), entry.lineno + 1) for entry in failed.traceback]
        own = [(path.name, line) for path, line in lines if path.is_relative_to(modules._roots[0])]
        assert own == [("late.py", 1), ("other.py", 2)]


def test_classes_find_their_own_module(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """Annotations as text resolve there: dataclasses and pydantic models of a snapshot work."""
    body = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import get_type_hints\n"
        "from pydantic import BaseModel\n@dataclass\nclass A:\n    x: B | None\nclass B(BaseModel):\n    a: A\n"
        "hints = get_type_hints(A)\nmade = B(a=A(x=None))\n"
    )
    late = take(write(project, {"zoo/late.py": body})).import_module("zoo.late")

    assert late.hints == {"x": late.B | None}
    assert isinstance(late.made.a, late.A)


def test_no_bytecode_is_written(project: Path, take: Callable[..., SnapshotModules], monkeypatch) -> None:
    """The files of a verified bundle stay those of its manifest, and what is read is what was verified."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    modules = take(write(project, {"zoo/__init__.py": "", "zoo/late.py": "import zoo_shared\n", "zoo_shared.py": ""}))
    modules.import_module("zoo.late")

    assert not list(Path(modules._roots[0]).rglob("*.pyc"))


def test_threads_import_one_module(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """Many at one time get the same, whole one."""
    body = "import time\ntime.sleep(0.01)\nx = object()\n"
    modules = take(
        write(project, {"zoo/late.py": "def f():\n    from zoo.other import x\n    return x\n", "zoo/other.py": body})
    )
    late, start, found = modules.import_module("zoo.late"), threading.Barrier(4), list[object]()

    def work() -> None:
        start.wait()
        found.append(late.f())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len(set(found)) == 1


# ── pickles and forgetting ───────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_snapshot_pickled_is_the_readers(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """An object of one loading, or of another snapshot, becomes one of the snapshot that reads it."""
    body = "class A:\n    who = {!r}\n"
    one = take(write(project, {"zoo/late.py": body.format("one")}))
    content = pickle.dumps(one.import_module("zoo.late").A())
    two = take(write(project, {"zoo/late.py": body.format("two")}))
    one.forget()

    assert two.unpickle(content).who == "two"
    assert SnapshotModules(Path(one._roots[0]), "0" * 64).unpickle(content).who == "one"


def test_a_pickle_of_a_module_that_is_gone_says_so(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """The class that is missed is named; that of the working tree is not taken instead."""
    write(project, {"zoo/late.py": "class A:\n    pass\n"})
    work_on(project)
    content = pickle.dumps(importlib.import_module("zoo.late").A())
    write(project, {"zoo/late.py": ""})

    with pytest.raises(AttributeError, match="'A'"):
        take(project).unpickle(content)


def test_forgotten_modules_are_out_of_the_process(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """No name of theirs is left, and another snapshot's stay."""
    files = {"zoo/__init__.py": "", "zoo/late.py": "import zoo_shared\n", "zoo_shared.py": ""}
    one, two = take(write(project, files)), take(project)
    for modules in (one, two):
        modules.import_module("zoo.late")

    one.forget()

    assert not [name for name in sys.modules if name.startswith(one.package)]
    assert f"{two.package}.zoo_shared" in sys.modules
    assert not [package for package in sys.modules if package.partition(".")[0] in TOPS and package != "random"]


def test_what_refers_to_forgotten_modules_goes_on(project: Path, take: Callable[..., SnapshotModules]) -> None:
    """A version that was just swapped out still ends its batch: every form of lazy import, and the same classes."""
    files = {
        "zoo/__init__.py": "",
        "zoo/late.py": "from zoo_shared import A\ndef absolute():\n    from zoo.other import x\n    return x\n"
        "def relative():\n    from . import another\n    return another.x\n"
        "def named():\n    import importlib\n    return importlib.import_module('zoo.third').x\n"
        "def same():\n    import zoo_shared\n    return zoo_shared.A is A\n",
        "zoo/other.py": "x = 1\n",
        "zoo/another.py": "x = 2\n",
        "zoo/third.py": "x = 3\n",
        "zoo_shared.py": "class A:\n    pass\n",
    }
    for form, answer in {"absolute": 1, "relative": 2, "named": 3, "same": True}.items():
        modules = take(write(project, files))
        late = modules.import_module("zoo.late")
        modules.forget()
        assert getattr(late, form)() == answer
        assert modules.import_module("zoo.late") is late
        modules.forget()
        assert not [name for name in sys.modules if name.startswith(modules.package)]
