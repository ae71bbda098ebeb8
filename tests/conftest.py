"""Fixtures: a board with the package on it, and the machine code of the kernels."""

import ast
import base64
import shutil
import textwrap

import numpy as np
import pytest
from hypothesis import settings

from attn8_host import isa
from attn8_host.boards import Board
from attn8_host.boards.virtual import open_virtual
from attn8_host.deploy import deploy, push
from attn8_host.isa.device import machine_of
from attn8_host.isa.importer import Importer, module
from attn8_host.paths import DEVICE, MODELS
from attn8_host.pytest_plugin import RUN

settings.register_profile("any machine", deadline=None)  # however slow it is
settings.load_profile("any machine")

CODES = {
    "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "float32": "f",
    "float64": "d",
}


def pytest_addoption(parser):
    parser.addoption(
        "--calls", type=int, default=4000, help="wrong ones to make (default: %(default)s)"
    )
    parser.addoption(
        "--faults", type=int, default=200, help="on the link (default: %(default)s)"
    )
    parser.addoption(
        "--files", type=int, default=250, help="mutated models of each kind (default: %(default)s)"
    )
    parser.addoption(
        "--interrupts", type=int, default=2, help="Ctrl-C in attn8 (default: %(default)s)"
    )
    parser.addoption(
        "--mutations", type=int, default=4000, help="of frames (default: %(default)s)"
    )
    parser.addoption(
        "--payloads", type=int, default=100, help="bad ones of frames (default: %(default)s)"
    )
    parser.addoption(
        "--kills", type=int, default=3, help="of a deploy (default: %(default)s)"
    )
    parser.addoption(
        "--sizes", type=int, default=7, help="of full file systems (default: %(default)s)"
    )
    parser.addoption(
        "--words", type=int, default=40, help="generated commands (default: %(default)s)"
    )
    parser.addoption(
        "--watch-minutes", type=int, default=0, help="of 30 results a second (default: none)"
    )
    parser.addoption(
        "--masks", type=int, default=2000, help="random masks to compare (default: %(default)s)"
    )


@pytest.fixture(scope="session")
def board(board):
    """The plugin's board, with the device package deployed and the digits model on it."""
    deploy(board)
    for folder in ("/models", "/models/attn8"):  # as of a user, and as the demo puts it
        push(board, f"{folder}/digits.safetensors", (MODELS / "digits.safetensors").read_bytes())
    board.enter_repl()
    return board


@pytest.fixture(scope="module", autouse=True)
def afresh(request):
    """Each module starts with the whole of the board's memory, whatever the one before left."""
    run = request.config.stash[RUN]
    if run.board is not None and run.died is None:
        run.board.enter_repl()


@pytest.fixture
def attn8_folder(tmp_path):
    """A folder for a virtual board's file system, with the package and the digits model in it."""
    shutil.copytree(DEVICE / "attn8", tmp_path / "board/lib/attn8")
    (tmp_path / "board/models").mkdir()
    shutil.copy(MODELS / "digits.safetensors", tmp_path / "board/models")
    return tmp_path / "board"


@pytest.fixture(scope="module")
def remote(board):
    """Runs code on the board over named arrays; returns what it passed to `give`."""
    return Remote(board)


@pytest.fixture(scope="module")
def roomy():
    """The same on a board that has room for all modules and names of what trains."""
    with open_virtual(heap_size="1M") as board:
        deploy(board)
        board.enter_repl()
        yield Remote(board)


class Remote:
    """remote(code, name=array, ...) -> the arrays and values that the code gave.

    The code sees each NumPy array as a MicroPython array of the same type, and other values as
    literals; it calls give(array or int or str) any number of times.
    """

    PROLOGUE = (
        "from array import array\n"
        "from binascii import a2b_base64, b2a_base64\n"
        "def give(x):\n"
        "    if isinstance(x, (int, str, tuple, list)):\n"
        "        print(repr(x))\n"
        "    else:\n"
        "        print(repr((str(x)[7:8], bytes(b2a_base64(x)))))\n"
    )

    LOCKED = (
        "from micropython import heap_lock, heap_unlock\n"
        "allocates = 0\n"
        "run()\n"
        "heap_lock()\n"
        "try:\n"
        "    run()\n"
        "except MemoryError:\n"
        "    allocates = 1\n"
        "heap_unlock()\n"
        "give(allocates)\n"
    )

    def __init__(self, board: Board):
        self.board = board

    def __call__(self, code: str, **values):
        lines = []
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                data = base64.b64encode(value.tobytes()).decode()
                typecode = CODES[value.dtype.name]
                lines.append(f"{name} = array('{typecode}', bytes(a2b_base64('{data}')))")
            else:
                lines.append(f"{name} = {value!r}")
        # With the prologue each time: another test may have reset the board
        printed = self.board.execute(self.PROLOGUE + "\n".join(lines) + "\n" + code)
        given = [_parse(ast.literal_eval(line)) for line in printed.splitlines()]
        return given[0] if len(given) == 1 else given

    def refused(self, code, setup="", **values):
        """Runs code after a setup; returns the one line of the error that it raises."""
        body = textwrap.indent(code.strip(), "    ")
        refusal = "except (TypeError, ValueError) as error:\n    give(str(error))"
        said = self(f"{setup}\ntry:\n{body}\n{refusal}", **values)
        assert isinstance(said, str) and "\n" not in said
        return said

    def needs_no_heap(self, code, setup, **values):
        """Runs code twice after a setup; True if the second time it allocates nothing."""
        body = textwrap.indent(code.strip(), "    ")
        return self(f"{setup}\ndef run():\n{body}\n{self.LOCKED}", **values) == 0


def _parse(value):
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], bytes):
        dtype = {code: name for name, code in CODES.items()}[value[0]]
        return np.frombuffer(base64.b64decode(value[1]), dtype)
    return value


# The form of machine code that stands for it
TURBO = {"xtensawin": "xtensa", "rv32imc": "rv32", "esp32s2": "s2"}


@pytest.fixture(scope="session", params=isa.ARCHES)
def machines(request):
    """A function from a kernel module's name to a machine that runs its code on one chip.

    "turbo." before the name of a family means its machine code.
    """
    return machines_of(request.param)


def machines_of(arch):
    """What the fixture `machines` gives, for one of isa.ISAS."""
    loaded = {}

    def machine(name: str) -> isa.Machine:
        if name not in loaded:
            form, _, module = name.rpartition(".")
            folders = (DEVICE / "attn8" / folder for folder in ("forms/viper", "kernels"))
            loaded[name] = (
                machine_of(TURBO[arch], module) if form == "turbo"
                else isa.load(next(folder / f"{module}.py" for folder in folders
                                   if (folder / f"{module}.py").exists()), arch)
            )
        loaded[name].reset()
        return loaded[name]

    return machine


@pytest.fixture(scope="session")
def on_device():
    """A function from a name to a module of the device as plain Python, without kernels."""
    return Importer({"micropython": module("micropython", viper=lambda function: function)}).load
