"""`attn8 repl`, typed into through a terminal."""

import io
import os
import select
import subprocess
import sys
import time

from attn8_host.cli import main

COMMAND = [sys.executable, "-m", "attn8_host", "repl", "--board", "virtual"]


def test_the_package_is_live_from_this_computer():
    terminal, side = os.openpty()
    process = subprocess.Popen(COMMAND, stdin=side, stdout=side, stderr=side)
    os.close(side)

    def until(text, seconds=60):
        seen, deadline = b"", time.monotonic() + seconds
        while text not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 4096)

    try:
        until(b">>> ")
        os.write(terminal, b"import attn8, os; print(os.getcwd(), attn8.__file__)\r")
        until(b"/remote attn8/__init__.py\r\n")
        os.write(terminal, b"attn8.MultiH\t")
        until(b"attn8.MultiHeadAttention")
        os.write(terminal, b"\x03")
        os.write(terminal, b"print(list(attn8.ReLU(2)(b'\\xff\\x05')))\r")
        until(b"[0, 5]\r\n")
        os.write(terminal, b"\x1d")  # Ctrl-]
        assert process.wait(60) == 0
    finally:
        process.kill()
        os.close(terminal)


def test_without_a_terminal_it_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(["repl", "--board", "virtual"]) == 2
    assert capsys.readouterr().err.startswith("attn8: attn8 repl needs a terminal")
