"""Boards that are reset, or lose the model, in the middle of a text: one line, nothing lost."""

import io

import numpy as np
import pytest
from mpremote.romfs import VfsRomWriter
from rich.console import Console

from attn8_host.deploy import push
from attn8_host.errors import Attn8Error, BoardError
from attn8_host.model import load
from attn8_host.proof import generate
from attn8_host.text import encoded

from .test_text import ESP32, small, stories  # noqa: F401

# Behind three tokens of a text
HEAD, LOOP, TAIL = generate.SCRIPT.replace("step=True", "step=True, weights='stream'").partition(
    "    spent = ")
CUT = "    count = globals().get('count', 0) + 1\n    if count == 4:\n        {}\n"
LOSE = ("import sys; esp32 = sys.modules.get('esp32'); "
        "esp32 or open({path!r}, 'wb').close(); "
        "esp32 and setattr(esp32.Partition, 'readblocks', lambda *given: open('/nosuch'))")
GONE = "its weights cannot be read any more; load it again"


def cut(monkeypatch, code):
    monkeypatch.setattr(generate, "SCRIPT", HEAD + CUT.format(code) + LOOP + TAIL)


@pytest.fixture(params=["file", "partition"])
def write(request, board, small):  # noqa: F811
    """A function that has the board write nine tokens, with the model in a file or a partition."""
    model = load(small[0], False)
    ids, console = encoded(model, "Lily"), Console(file=io.StringIO())
    asked = generate.Request("Lily", 9, 0.9, 0.9, 3)
    board.enter_repl()
    if request.param == "partition":
        board.write_file("/lib/esp32.py", ESP32.encode())
        board.write_file("/flash.bin", b"\xff" * 12 * 4096)
    yield lambda: generate.generate(board, model, small[0], ids, asked, console, lambda text: None,
                                    data=request.param == "partition")
    board.enter_repl()
    if request.param == "partition":
        board.execute("import os\nfor path in '/lib/esp32.py', '/flash.bin': os.remove(path)")


@pytest.mark.board("virtual")
def test_a_reset_is_said_and_the_board_writes_again(board, write, monkeypatch):
    board.write_file("/notes.txt", b"the user's")
    with monkeypatch.context() as patched:
        cut(patched, "import machine; machine.reset()")
        with pytest.raises(BoardError) as said:
            write()
    assert str(said.value) == "the board was reset behind 3 tokens; run it again"
    written = write()
    assert written.bit_exact and len(written.tokens) == 9
    board.enter_repl()
    assert board.evaluate("print(repr(open('/notes.txt').read()))", str) == "the user's"
    board.execute("import os\nos.remove('/notes.txt')")


@pytest.mark.board("virtual")
def test_a_model_that_vanishes_is_said_and_the_board_writes_again(board, write, monkeypatch):
    with monkeypatch.context() as patched:
        cut(patched, LOSE)
        with pytest.raises(Attn8Error) as said:
            write()
    assert "\n" not in str(said.value) and str(said.value).endswith(GONE)
    assert write().bit_exact


IN_PLACE = """
import vfs
from attn8 import load
image = bytearray(size)
with open("/models/memory.romfs", "rb") as file:
    file.readinto(image)
vfs.mount(vfs.VfsRom(image), "/memory")
model = load("/memory/text.safetensors", step=True)
give(model.prefill(array("h", [1, 2])))
"""


@pytest.mark.board("virtual")  # a chip's ROMFS is in its flash
def test_a_romfs_outlives_a_reset_and_its_model_the_romfs(board, remote, small):  # noqa: F811
    model = load(small[0], False)
    model.reset()
    wanted = [model.prefill(np.array([1, 2])), model.step(np.array([3], np.int16))]
    writer = VfsRomWriter()
    writer.mkfile("text.safetensors", small[0].read_bytes())
    image = writer.finalise()
    board.enter_repl()
    push(board, "/models/memory.romfs", image)
    for _ in range(2):
        found = remote(IN_PLACE + "vfs.umount('/memory')\ngive(model.step(array('h', [3])))",
                       size=len(image))
        assert all((a == b).all() for a, b in zip(found, wanted, strict=True))
        board.execute("import machine; machine.reset()")
        # What comes before that is lost, and would be waited for
        board.transport.read_until(1, b"virtual board: reset\r\n")
        board.enter_repl()
