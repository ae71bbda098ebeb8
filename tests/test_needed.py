"""Of the package a board gets what its model needs, and what it has besides stays, as it is today.

How long a deployment takes is counted, in bytes and in turns of the line, on the virtual board.
"""

import contextlib
import hashlib

import numpy as np
import pytest

from attn8_host import forms, modelfile
from attn8_host.boards import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.bundle import home
from attn8_host.cli import main
from attn8_host.deploy import LIB, compile_device, deploy, plan
from attn8_host.isa.device import Device
from attn8_host.link import Client
from attn8_host.model import load
from attn8_host.needed import needed
from attn8_host.paths import MODELS
from attn8_host.plan.inference import served
from attn8_host.proof import cases

DIGITS, SPEAKERS = MODELS / "digits.safetensors", MODELS / "speakers.safetensors"
BYTE = 10 / 115200  # seconds, with its start and stop bits
TURN = 0.001  # seconds until a USB bridge passes on what came, such as the 10 bytes of a reply


def needs(path):
    return needed(modelfile.read(path)[0], path.read_bytes())


class Counted:
    """A port that counts bytes sent, and how often whoever sends has to wait until an answer comes.

    What comes while there is more to send is waited for by none: a paste's flow control, and the
    replies to all frames of an exchange but the last, as three of 85 bytes are under way. How many
    of them come between two writes depends on what else the computer does.
    """

    FLOW = b"\1"  # a paste may go on

    def __init__(self, stream):
        self.__dict__.update(stream=stream, count=0, turns=0, writing=False, exchanging=False)

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __setattr__(self, name, value):
        if name in self.__dict__:
            self.__dict__[name] = value
        else:
            setattr(self.stream, name, value)

    def write(self, data):
        self.count += len(data)
        self.writing = True
        return self.stream.write(data)

    def read(self, size=1):
        data = self.stream.read(size)
        if data and data != self.FLOW and self.writing and not self.exchanging:
            self.turns += 1
            self.writing = False
        return data

    @contextlib.contextmanager
    def exchange(self):
        self.exchanging = True
        yield
        self.turns += 1
        self.exchanging = self.writing = False

    @property
    def seconds(self):
        return self.count * BYTE + self.turns * TURN


@pytest.fixture
def virtual(tmp_path):
    virtual = VirtualBoard(root=tmp_path)
    yield virtual
    virtual.stop()


def test_the_demo_is_deployed_in_eight_seconds_and_again_in_one(virtual, tmp_path, monkeypatch):
    counted = []
    opened = Board.__init__

    def counting(self, *arguments, **options):
        opened(self, *arguments, **options)
        counted.append(Counted(self.transport.serial))
        counted[-1].count = 400  # of the opening, which is over
        self.transport.serial = counted[-1]

    exchange = Client._exchange

    def exchanging(self, *arguments):
        with self.stream.exchange():
            exchange(self, *arguments)

    monkeypatch.setattr(Board, "__init__", counting)
    monkeypatch.setattr(Client, "_exchange", exchanging)
    command = ["deploy", "--model", str(DIGITS), "--board", virtual.port]
    assert main(command) == 0
    assert main(command) == 0
    first, second = (each.seconds for each in counted)
    assert 2 < first <= 8
    assert 0.1 < second <= 1
    with Board(virtual.port) as board, board.serve() as client:
        client.load("/models/digits.safetensors")
        x = np.arange(-32, 32, dtype=np.int8)
        wanted = load(DIGITS)(x)
        found = client.infer(x).tensors
        assert all((found[name] == want.ravel()).all() for name, want in wanted.items())
    files = {path.relative_to(tmp_path / LIB[1:]).as_posix() for path in tmp_path.rglob("*.mpy")}
    assert {path.removesuffix(".mpy") for path in files} == needs(DIGITS)


@pytest.mark.parametrize("mechanism", cases.mechanisms())
def test_a_model_imports_nothing_but_what_it_needs(mechanism, monkeypatch):
    monkeypatch.setattr(cases, "SHAPES", [(5, 8, 2)])
    monkeypatch.setattr(cases, "VARIANT_SHAPES", [(6, 4, 1)])
    found = cases.mechanisms()[mechanism](cases.generator(mechanism))
    variants = list({case.variant: case for case in found}.values())
    for case in variants[:: len(variants) // 4 + 1]:  # each takes a while
        data = modelfile.pack(case.config, case.tensors)
        modules = needed(case.config, data)
        device = Device("rv32imc", forms.VIPER)
        server, _ = served(device, case.config, data)
        server._model()
        imported = {home(name.removeprefix("attn8.")).replace(".", "/") or "__init__"
                    for name in device.importer.imported if name.startswith("attn8.")}
        assert {name for name in imported
                if name not in modules and f"{name}/__init__" not in modules} == set()


def test_machine_code_comes_with_its_viper_and_its_answers():
    modules = needs(DIGITS)
    files = compile_device("xtensawin") | forms.files_of("xtensawin", "turbo")
    kept = {path for path in files if forms.portable(path.removesuffix(".mpy")) in modules}
    assert {path for path in kept if "matmul" in path} == {
        "forms/viper/matmul.mpy", "forms/xtensa/matmul.mpy", "known/matmul.mpy"}
    assert "known/__init__.mpy" in kept and "forms/xtensa/__init__.mpy" in kept
    assert not [path for path in kept if "norm" in path or "train" in path]


def test_what_a_board_has_besides_stays_and_is_todays(virtual, tmp_path):
    package = tmp_path / LIB[1:]
    with Board(virtual.port) as board:
        one = deploy(board, needed=needs(DIGITS)).files
        both = deploy(board, needed=needs(SPEAKERS)).files
        assert one < both
        assert deploy(board, needed=needs(DIGITS)).sent == 0
        (package / "layers/gelu.mpy").write_bytes(b"old")
        sums = package / "SHA256SUMS"
        line = next(line for line in sums.read_text().splitlines() if "layers/gelu" in line)
        old = hashlib.sha256(b"old").hexdigest()  # as an older version had deployed it
        sums.write_text(sums.read_text().replace(line, f"{old}  layers/gelu.mpy"))
        planned = plan(board, compile_device(board.info.arch), needs(DIGITS))
        assert planned.changed == ["layers/gelu.mpy"]
        (package / "layers/gelu.mpy").unlink()
        assert deploy(board).files > both


def test_all_of_it_comes_where_that_is_asked(virtual, capsys):
    command = ["deploy", "--board", virtual.port, "--model", str(DIGITS)]
    assert main([*command, "--dry-run"]) == 0
    some = capsys.readouterr().out.count("\nsend ")
    assert main([*command, "--dry-run", "--all"]) == 0
    assert capsys.readouterr().out.count("\nsend ") > 2 * some


def test_what_is_not_there_says_what_brings_it(virtual):
    with Board(virtual.port) as board:
        deploy(board, needed=needs(DIGITS))
        said = board.execute(
            "import attn8\n"
            "for make in (lambda: attn8.Performer(8, 4), lambda: attn8.masks.causal(4)):\n"
            "    try:\n        make()\n"
            "    except ImportError as error:\n        print(error)\n"
        )
        assert said.splitlines() == [
            f"no module named 'attn8.{name}': this board has what its models need; attn8 deploy "
            "brings all" for name in ("cores.performer", "masks")]
