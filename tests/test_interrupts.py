"""Ctrl-C in `attn8` at any moment leaves the board at a working REPL, its interrupt restored.

`pytest tests/test_interrupts.py --interrupts 100` tries more moments.
"""

import random
import signal
import subprocess
import sys

import pytest
from mpremote.transport_serial import SerialTransport

from attn8_host.boards.virtual import VirtualBoard
from attn8_host.interrupts import ENDS, ended_whole, uninterrupted

SECONDS = 60  # in which the slowest computer answers
LATEST = 2.5  # seconds after the start; the commands take longer
COMMANDS = (
    ["soak", "--minutes", "1"],
    ["demo", "--samples", "100", "--png", "map.png"],
    ["deploy"],
)


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C reaches this process and those it starts, even if pytest runs behind a `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def assert_working(port):
    """The friendly REPL answers, and Ctrl-C interrupts a loop: as any mpremote finds it."""
    transport = SerialTransport(port, timeout=SECONDS)
    transport.serial.write(b"\r\n")
    assert transport.read_until(1, b">>> ", timeout=SECONDS).endswith(b">>> ")
    transport.enter_raw_repl(soft_reset=False)
    transport.exec_raw_no_follow("print('started')\nwhile True:\n    pass\n")
    assert transport.read_until(1, b"started", timeout=SECONDS).endswith(b"started")
    transport.serial.write(b"\x03")
    _, error = transport.follow(timeout=SECONDS)
    assert b"KeyboardInterrupt" in error
    transport.exit_raw_repl()
    transport.close()


def test_interrupts_at_random_moments(request, tmp_path):
    rng = random.Random(0)
    virtual = VirtualBoard()
    try:
        for i in range(request.config.getoption("--interrupts")):
            command = COMMANDS[i % len(COMMANDS)]
            process = subprocess.Popen(
                [sys.executable, "-m", "attn8_host", *command, "--board", virtual.port],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=tmp_path,
                text=True,
            )
            try:
                _, said = process.communicate(timeout=rng.uniform(0.3, LATEST))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=SECONDS)
                # 130, or by the signal while it imports; all but a soak may have just ended
                ends = (130, -signal.SIGINT) if command[0] == "soak" else (130, -signal.SIGINT, 0)
                assert process.returncode in ends
                assert "attn8: interrupted" in said or process.returncode != 130
            assert_working(virtual.port)
    finally:
        virtual.stop()


def test_an_interrupt_waits_for_what_must_not_be_left_half_done():
    done = False
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done = True
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_ignores_interrupts_still_does():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with uninterrupted():
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", ENDS)
def test_what_ends_a_command_closes_what_is_open_once_it_may(number):
    """A second signal, as of whoever has waited too long, does not cut that off."""
    done = []
    with pytest.raises(SystemExit) as ended, ended_whole():
        try:
            with uninterrupted():
                signal.raise_signal(number)
                done.append("not left half done")
        finally:
            signal.raise_signal(number)
            done.append("closed")
    assert ended.value.code == 128 + number
    assert done == ["not left half done", "closed"]
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", ENDS)
def test_who_ignores_what_ends_a_command_still_does(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with ended_whole(), uninterrupted():
            signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
