"""What a board says that is no answer: one line, and in time."""

import os
import re
import threading
import time
import tty

import pytest

from attn8_host.boards import board as boards
from attn8_host.boards.answers import BYTES, LONGEST, literal
from attn8_host.boards.board import IDENTITY, Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.errors import BoardError

RIGHT = ("micropython", "1.26.1", "Generic ESP32 module with ESP32", 2566)

WRONG = [
    "", "hello", "1 2", "(", "None", "{}", "\0", "f(1)", "__import__('os')", "'\\d'", "1is 2",
    "(" * 5000, "[" * 200 + "]" * 200, "-" * 50_000 + "1", "9" * 5000, "x" * (LONGEST + 1),
    *(repr(each) for each in (
        (), RIGHT[:3], (*RIGHT, 1), list(RIGHT), ("a", "1", "m", 1), ("a", "1.x.3", "m", 1),
        ("a", "1.2.3", "", 1), ("a", "1.2.3", " ", 1), ("a", "1.2.3", "m", -1),
        ("a", "1.2.3", "m", 1 << 16), ("a", "1.2.3", "m", True), ("a", "1.2.3", "\x1b[2J m", 1),
        ("a b", "1.2.3", "m", 1), ("a", "1.2.3", b"m", 1), ("a", "1.2.3", "m" * 999, 1),
    )),
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_what_is_no_answer_is_one_line(text):
    with pytest.raises(BoardError, match=r"what is no answer, .*does its boot\.py or main") as said:
        literal(text, IDENTITY)
    assert "\n" not in str(said.value) and str(said.value).isprintable()


def test_answers_are_taken():
    assert literal(repr(RIGHT), IDENTITY) == RIGHT
    assert literal("\r\n12\r\n", BYTES) == 12
    assert literal("[('a', 1)]", [(str, BYTES)]) == [("a", 1)]
    assert literal("(None, b'x')", ({bytes, None}, {bytes, None})) == (None, b"x")


# Programs that keep a board from answering
PRINTS = """
import _thread, time
def speak():
    while True:
        print("reading 17")
        time.sleep_ms(3)
_thread.start_new_thread(speak, ())
"""
LOCKS = "import micropython\nmicropython.heap_lock()\n"


# Between two lines that a board prints its prompt may come through: then it answers after all
@pytest.mark.parametrize(("program", "may_answer"), [(PRINTS, True), (LOCKS, False)])
def test_a_board_whose_boot_py_hinders_it_is_given_up(tmp_path, monkeypatch, program, may_answer):
    monkeypatch.setattr(boards, "PROMPT_SECONDS", 2)
    (tmp_path / "boot.py").write_text(program)
    virtual = VirtualBoard(root=tmp_path)
    start = time.monotonic()
    try:
        board = Board(virtual.port)
    except BoardError as error:
        assert re.search(r"boot\.py (and|or) main\.py print", str(error))
    else:
        board.transport.serial.close()
        assert may_answer
    finally:
        virtual.stop()
    assert time.monotonic() - start < 25


def test_a_port_that_never_stops_sending_is_given_up(monkeypatch):
    monkeypatch.setattr(boards, "PROMPT_SECONDS", 1)
    mine, its = os.openpty()
    tty.setraw(its)
    os.set_blocking(mine, False)
    ended = threading.Event()

    def send():
        while not ended.is_set():
            for act in (lambda: os.write(mine, b"x" * 512), lambda: os.read(mine, 4096)):
                try:
                    act()
                except BlockingIOError:
                    time.sleep(0.001)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        start = time.monotonic()
        with pytest.raises(BoardError, match=r"it says no end of something else"):
            Board(os.ttyname(its))
        assert time.monotonic() - start < 20
    finally:
        ended.set()
        thread.join()
        os.close(mine)
        os.close(its)
