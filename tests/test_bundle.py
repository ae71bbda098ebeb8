"""Modules in one file find what they found in files of their own, and others find them there."""

import ast
import importlib
import sys

import pytest

from attn8_host import bundle
from attn8_host.deploy import package_sources
from attn8_host.errors import Attn8Error

SOURCES = {
    "__init__.py": b"""
from . import one, other

def top():
    return one.kind(2), other.Kind(3).kind()
""",
    "one.py": b"""
from array import array

LEAST, most = 1, 9
table = array("b", [1, 2])

def kind(x, most=most):
    # the argument and the local are no globals
    other = [LEAST for LEAST in range(x)]
    return x + most + len(other) + table[0]

def nested(kind):
    def inner():
        return kind + LEAST
    return inner() + (lambda most: most + LEAST)(1)
""",
    "kernels/__init__.py": b"from . import two\n",
    "kernels/two.py": b"""
from ..one import kind as of_one

def two(of=of_one):
    def of_one(x):
        return -x
    return of(1), of_one(1), kind(0)

def kind(x):
    return "two", x
""",
    "other.py": b"""
from . import one
from .kernels.two import two as second
from .one import LEAST

class Kind:
    MOST = LEAST + 1

    def __init__(self, kind):
        self.one = kind
        self.LEAST = self.MOST + LEAST

    def kind(self):
        from . import late
        from .kernels import two as module

        return one.kind(self.one), self.LEAST, second(), module.kind(one.most), late.said()

for i in range(3):
    LAST = i
del i
""",
    "late.py": b"""
from . import one, other
from .one import kind

def said(module=type(one)):
    one = 5
    return one, kind(1), other.LAST, module is type(__import__("sys"))
""",
    "link/__init__.py": b"",
    "link/front.py": b"""
from .. import one
from .back import back

def serve():
    return back() + one.LEAST
""",
    "link/back.py": b"""
def back(x=3):
    from . import beside

    return beside.value + x
""",
    "link/beside.py": b"from ..one import most as value\n",
    "names.py": b'NAMES = dict(serve="link.front", Kind="late")\n',
}
PROGRAM = """
import attn8
from attn8.link import front
from attn8.link.back import back as given
from attn8.one import kind, nested
from attn8.late import said
from attn8.names import NAMES
found = [attn8.top(), front.serve(), given(5), kind(4), nested(2), said()]
"""


@pytest.fixture
def bundles(monkeypatch):
    made = {"": ("one", "kernels.two", "other"), "link": ("link.back", "link.front")}
    monkeypatch.setattr(bundle, "BUNDLES", made)
    monkeypatch.setattr(bundle, "HOME", {each: leader for leader, members in made.items()
                                         for each in members})
    bundle.moved.cache_clear()
    yield
    bundle.moved.cache_clear()


def run(folder, sources, program, monkeypatch):
    """What the program finds, and names, in a package of these sources."""
    for path, data in sources.items():
        file = folder / "attn8" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == "attn8"]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    found: dict = {}
    exec(program, found)
    for name in [name for name in sys.modules if name.split(".")[0] == "attn8"]:
        del sys.modules[name]
    return found["found"], found["NAMES"]


def test_all_is_found_in_a_bundle(bundles, tmp_path, monkeypatch):
    joined = bundle.bundled(SOURCES)
    assert joined.keys() == SOURCES.keys() - {
        "one.py", "kernels/two.py", "other.py", "link/back.py", "link/front.py"}
    apart, names = run(tmp_path / "apart", SOURCES, PROGRAM, monkeypatch)
    assert names["serve"] == "link.front"
    together, names = run(tmp_path / "together", joined, bundle.outside(PROGRAM), monkeypatch)
    assert together == apart
    assert names == {"serve": "link", "Kind": "late"}


@pytest.mark.parametrize("statement", [
    "held = {}", "print({})", "def f(x={}): pass", "def f(): return {}", "x = [{} for i in x]",
    "x = getattr({}, name)", "x.held = {}", "lambda: {}", "del {}", "class C: held = {}",
])
@pytest.mark.parametrize(("path", "imports", "name"), [
    ("other.py", "from . import one", "one"),  # of its own file
    ("late.py", "from . import one", "one"), ("late.py", "from .kernels import two as k", "k"),
    ("link/beside.py", "from . import back", "back"), ("__main__", "from attn8 import one", "one"),
])
def test_a_module_of_a_bundle_is_no_value(bundles, statement, path, imports, name):
    """Its file has the names of others as well, so that what is asked of it lies elsewhere."""
    source = f"{imports}\n{statement.format(name)}\n"
    with pytest.raises(Attn8Error) as refused:
        bundle.moved(path, source.encode())
    assert str(refused.value) == (f"{path}:2: {name} shares a file with other modules, and is no "
                                  f"value; ask for {name}.NAME in its place")


def test_the_type_of_a_module_is_asked_for_but_in_its_own_file(bundles):
    source = b"from . import one\nMODULE = type(one)\n"
    assert bundle.moved("late.py", source) == b"import attn8\nMODULE = type(attn8)\n"
    with pytest.raises(Attn8Error, match=r"^other\.py:2: one shares a file"):
        bundle.moved("other.py", source)


def test_the_package_s_bundles_keep_all_that_their_modules_have():
    sources = package_sources()
    joined = bundle.bundled(sources)
    for leader, members in bundle.BUNDLES.items():
        path = "/".join(filter(None, [leader.replace(".", "/"), "__init__.py"]))
        if path not in sources:
            path = f"{leader.replace('.', '/')}.py"
        defined = [node.name for node in ast.parse(joined[path]).body
                   if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        assert len(set(defined)) == len(defined)
        for member in members:
            source = f"{member.replace('.', '/')}.py"
            assert source not in joined
            for node in ast.parse(sources[source]).body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                    assert bundle.name(member, node.name) in defined


def test_what_a_module_imports_of_its_bundle_is_asked_of_it_too():
    assert bundle.outside("from attn8 import checks\nchecks.typecode(1)\nchecks.kind(2)\n") == (
        "import attn8\nattn8.kernels_objects_typecode(1)\nattn8.checks_kind(2)\n")
    with pytest.raises(ValueError, match=r"checks\.micropython: the module has none of its own"):
        bundle.outside("from attn8 import checks\nchecks.micropython\n")
