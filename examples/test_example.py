"""Tests that run on a MicroPython board: what another project's may look like.

pytest examples                                    on the virtual board
pytest examples --board=/dev/ttyUSB0               on a chip
pytest examples --board u0 --board u1 -n auto      on two chips at once
"""

import pytest


def test_there_is_room(board):
    assert board.free_heap() > 50_000


@pytest.mark.parametrize("n", [1, 10, 100])
def test_the_board_adds_as_python_does(board, n):
    assert board.evaluate_tuple(f"print((sum(range({n})), max(range({n}))))") == (
        sum(range(n)),
        max(range(n)),
    )


def test_a_file_comes_back_as_it_was_sent(board):
    board.write_file("/example.bin", bytes(range(256)))
    board.execute("data = open('/example.bin', 'rb').read()")
    assert board.execute("print(data == bytes(range(256)))") == "True\n"
    board.execute("import os; os.remove('/example.bin')")


def test_attn8_runs(deployed):
    out = deployed.execute("from attn8 import ReLU; print(list(ReLU(2)(b'\\xff\\x05')))")
    assert out == "[0, 5]\n"


def test_the_link_carries_every_byte(link):
    assert link.echo(bytes(range(200))) == bytes(range(200))


@pytest.mark.board("ESP32")
def test_the_flash_is_large_enough(board):
    assert board.evaluate_tuple("import esp; print((esp.flash_size(),))")[0] >= 2 << 20
