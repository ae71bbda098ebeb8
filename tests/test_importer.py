"""The device package in CPython: its modules, apart from this interpreter's own."""

import builtins
import gc
import sys

import pytest

from attn8_host import forms
from attn8_host.isa import importer
from attn8_host.isa.device import Device
from attn8_host.isa.importer import Importer, module


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A device with a package of its own."""
    monkeypatch.setattr(importer, "DEVICE", tmp_path)
    for name, text in {
        "a/__init__.py": "from . import b\nfrom .c import d\nx = 1\n",
        "a/b.py": "import sys\nimport a\nimport os.path\nimport board\nhere = sys.modules\n",
        "a/c/__init__.py": "from ..b import here\nfrom . import d\nkind = ptr8\n",
        "a/c/d.py": "import a.c.e\nfrom . import e\nfrom math import floor, pi\n"
                    "local = __import__\n",
        "a/c/e.py": "def f():\n    from .. import late\n    return late.y\n",
        "a/late.py": "y = 5\n",
        "a/broken.py": "z = 1\nimport missing\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_imports_are_those_of_python(folder):
    made = Importer({"board": module("board", pin=1)})
    a = made.load("a")
    assert a is made.load("a") is a.b.a and a.x == 1
    assert a.b.here is made.modules is a.c.here and a.b.board.pin == 1
    assert a.d is a.c.d and a.d.e.f() == a.late.y == 5 and a.d.floor(a.d.pi) == 3
    assert a.c.__path__ == str(folder / "a/c") and a.c.d.__package__ == "a.c"
    assert a.b.os.path is sys.modules["os.path"]
    with pytest.raises(ModuleNotFoundError, match=r"no module named a\.nothing on the device"):
        made.load("a.nothing")
    with pytest.raises(ModuleNotFoundError, match="missing"):
        made.load("a.broken")
    assert "a.broken" not in made.modules


def test_a_stand_in_takes_the_place_of_a_module(folder):
    late = module("a.late", y=7)
    a = Importer({"board": module("board"), "a.late": late}).load("a")
    assert a.d.e.f() == 7 and a.late is late


def test_a_source_is_borrowed(folder):
    a = Importer({"board": module("board")}, {"a.lent": folder / "a/late.py"}).load("a")
    lent = a.d.local("a.lent", fromlist=["y"])
    assert lent.y == 5 and lent.__file__ == str(folder / "a/lent.py") and lent is a.lent


def test_nothing_of_it_is_seen_outside():
    forms.files_of("rv32imc", "turbo")  # for which the host imports what assembles them
    before = set(sys.modules), set(vars(builtins)), set(vars(gc))
    device = Device("rv32imc", "turbo")
    assert device.attn8.backend() == "turbo" and "attn8.forms.rv32.matmul" in device.modules
    assert Device("rv32imc").attn8.backend() == "viper"
    assert list(device.attn8.ReLU(2)(bytearray(b"\xff\x05"))) == [0, 5]
    assert (set(sys.modules), set(vars(builtins)), set(vars(gc))) == before
