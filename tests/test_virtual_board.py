"""The virtual board behaves like a chip towards any mpremote command line."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from attn8_host.boards.board import Board
from attn8_host.boards.running import running
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.cli import main
from attn8_host.errors import BoardError, RemoteError
from attn8_host.proof.soak import growth


@pytest.fixture
def virtual(tmp_path):
    (tmp_path / "boot.py").write_text("print('boot ran')\nbooted = 1\n")
    board = VirtualBoard(root=tmp_path)
    yield board
    board.stop()


def mpremote(board, *arguments):
    command = [sys.executable, "-m", "mpremote", "connect", board.port, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.replace("\r\n", "\n")


def test_mpremote_commands(virtual, tmp_path):
    local = tmp_path.parent / "local"
    local.mkdir(exist_ok=True)
    (local / "hello.py").write_text("print('hello', 6 * 7)\n")
    assert mpremote(virtual, "exec", "print(booted)") == "1\n"
    mpremote(virtual, "fs", "cp", str(local / "hello.py"), ":hello.py")
    assert "hello.py" in mpremote(virtual, "fs", "ls")
    assert mpremote(virtual, "fs", "cat", "hello.py") == "print('hello', 6 * 7)\n"
    assert mpremote(virtual, "run", str(local / "hello.py")) == "hello 42\n"
    assert "hello 42" in mpremote(virtual, "mount", str(local), "exec", "import hello")
    mpremote(virtual, "soft-reset")
    mpremote(virtual, "reset")
    assert mpremote(virtual, "sleep", "0.5", "eval", "1 + 1") == "2\n"
    mpremote(virtual, "fs", "rm", ":hello.py")
    assert "hello.py" not in mpremote(virtual, "fs", "ls")


def test_a_soft_reset_forgets_and_runs_boot_py(virtual):
    with Board(virtual.port) as board:
        board.execute("x = 5")
        board.enter_repl()
        assert board.execute("print('x' in globals(), booted)") == "False 1\n"


@pytest.mark.parametrize("main", ["while True: pass", "while True: print('hello' * 20)"])
def test_a_main_py_that_never_ends_is_interrupted(tmp_path, main):
    (tmp_path / "main.py").write_text(main)
    virtual = VirtualBoard(root=tmp_path)
    try:
        with Board(virtual.port) as board:
            assert board.execute("print(1 + 1)") == "2\n"
    finally:
        virtual.stop()


def test_every_byte_reaches_a_program_that_switched_the_interrupt_off(virtual):
    every = bytes(range(256))
    with Board(virtual.port) as board:
        board.transport.exec_raw_no_follow(
            "import sys, micropython\nmicropython.kbd_intr(-1)\nprint('ready')\n"
            "data = sys.stdin.buffer.read(256)\nmicropython.kbd_intr(3)\n"
            "sys.stdout.buffer.write(repr(data == bytes(range(256))))\n"
        )
        board.transport.read_until(1, b"ready\n", timeout=60)
        board.transport.serial.write(every)
        out, error = board.transport.follow(timeout=60)
        assert (out, error) == (b"True", b"")


def test_ctrl_c_that_finds_a_program_just_ended_restarts_nothing(virtual):
    with Board(virtual.port) as board:
        board.execute("kept = 1")
        for length in range(200):
            board.transport.exec_raw_no_follow(f"for _ in range({10 * length}): pass")
            board.enter_repl(soft_reset=False)
        assert board.execute("print(kept)") == "1\n"


def test_a_session_leaves_nothing_in_the_heap(virtual):
    with Board(virtual.port) as board:
        looks = []
        for _ in range(40):
            board.enter_repl(soft_reset=False)
            looks.append(board.used_heap())
        assert growth(looks) == 0


def test_the_heap_is_as_small_as_a_chip(virtual):
    with Board(virtual.port) as board:
        assert int(board.execute("import gc\nprint(gc.mem_free() + gc.mem_alloc())")) < 2 * 115_000


def test_a_busy_port_is_said_to_be_busy(virtual):
    with Board(virtual.port), pytest.raises(BoardError, match="is busy"):
        Board(virtual.port)


def test_a_crash_leaves_a_board_that_can_be_used(virtual):
    with Board(virtual.port) as board:
        board.transport.exec_raw_no_follow("import uctypes\nuctypes.bytes_at(8, 8)\n")
        board.transport.read_until(1, b">>> ", timeout=60)
        board.enter_repl()
        assert board.execute("print(3)") == "3\n"


@pytest.mark.parametrize("program", ["while True: pass", "while True: print('x' * 50)"])
def test_what_waits_for_a_program_is_told_that_micropython_died(program):
    """At once, of a program that may be silent for ten minutes, and of one that says much."""
    virtual = VirtualBoard()
    try:
        with Board(virtual.port) as board:
            (process,) = children(virtual.process.pid)
            kill = threading.Timer(1, os.kill, (process, signal.SIGKILL))
            kill.start()
            start = time.monotonic()
            with pytest.raises(RemoteError) as refused:
                board.follow(program, lambda line: None)
            kill.join()
            assert str(refused.value) == ("the board says: virtual board: MicroPython died of "
                                          "SIGKILL")
            assert time.monotonic() - start < 60
            board.enter_repl()
            assert board.execute("print(3)") == "3\n"
    finally:
        virtual.stop()


def children(process):
    """Processes that one has started."""
    done = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True,
                          check=True)
    pairs = (map(int, line.split()) for line in done.stdout.splitlines())
    return [own for own, above in pairs if above == process]


def test_too_little_heap_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    from attn8_host import boards, cli
    from attn8_host.boards.virtual import open_virtual

    monkeypatch.setattr(boards, "open_board", lambda *_: open_virtual(heap_size="24wK"))
    assert cli.main(["demo", "--samples", "1", "--png", str(tmp_path / "a.png")]) == 2
    said = capsys.readouterr().err
    assert "out of memory" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_board_that_was_started_ends_with_the_command(end):
    command = [sys.executable, "-m", "attn8_host", "boards", "start", "virtual"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines[1].startswith("/dev/")
        assert lines[1].strip() in running()
        process.send_signal(end)
        assert process.stdout.read() == ""  # comes to its end when the board has ended, too
    assert lines[1].strip() not in running()


def test_a_board_that_was_started_has_the_heap_that_was_asked_for():
    command = [sys.executable, "-m", "attn8_host", "boards", "start", "virtual", "--heap", "128"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = [process.stdout.readline() for _ in range(2)][1].strip()
        with Board(port) as board:
            assert 0.97 < (board.used_heap() + board.free_heap()) / (128 * 2048) <= 1
        process.terminate()


def test_boards_lists_a_virtual_board_that_runs(capsys, monkeypatch):
    monkeypatch.delenv("ATTN8_BOARD", raising=False)
    command = [sys.executable, "-m", "attn8_host.boards.supervisor", "--listed"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        port = it.stdout.readline().strip()
        monkeypatch.setattr("attn8_host.boards.running.running", lambda: [port])  # of this test
        assert main(["boards", "--json"]) == 0
        it.communicate()
    (board,) = (board for board in json.loads(capsys.readouterr().out) if board["port"] == port)
    assert board["implementation"] == "micropython"


@pytest.mark.parametrize("folder", ["ü", "日本 x", "a'b"])
def test_it_starts_in_any_locale_and_folder(tmp_path, folder):
    temporary = tmp_path / folder
    temporary.mkdir()
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "attn8_host", "boards", "--board", "virtual", "--json"],
        env=os.environ | plain | {"TMPDIR": str(temporary)}, capture_output=True, timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert b"free_heap" in done.stdout


def test_a_start_that_fails_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("attn8_host.boards.virtual.START_SECONDS", 2)
    nowhere = os.fsdecode(bytes(tmp_path) + b"/\xff")  # no name that MicroPython has
    with pytest.raises(BoardError, match="the virtual board did not start"):
        VirtualBoard(root=Path(nowhere))


def test_what_stood_before_a_lost_answer_is_brought_again(board, monkeypatch):
    board.enter_repl()
    once = board._try_repl
    said = []

    def late(soft_reset):  # a Ctrl-D that comes too late starts the board afresh
        said.append(soft_reset)
        return once(soft_reset or len(said) == 1) and len(said) > 1

    with board.keeping():
        board.require("def one():\n    return 1\n")
        monkeypatch.setattr(board, "_try_repl", late)
        board.enter_repl(soft_reset=False)
        assert said == [False, False]
        board.require("def one():\n    return 1\n")
        assert board.execute("print(one())").strip() == "1"
