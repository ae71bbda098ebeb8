"""The virtual board: MicroPython's unix port behind a pseudo-terminal, behaving like a chip.

    client (mpremote, attn8)  <-- pty -->  supervisor  <-- pty -->  micropython (unix port)

A chip does four things that the bare unix port does not, and this process adds them:

- **Soft reset.** Ctrl-D at an empty prompt ends the unix port. The supervisor prints
  `MPY: soft reboot`, starts it again and, where the prompt was the raw REPL's, goes back there.
- **Ctrl-C** interrupts a running program unless `micropython.kbd_intr(-1)` was called; then byte
  0x03 is data. The start-up script below replaces that call with one that tells the supervisor, in
  the output stream itself (a secret marker), so that the switch takes effect at exactly that point
  of the stream; the supervisor turns 0x03 into the signal.
- **A file system of its own**, a folder mounted as `/`, whose boot.py and main.py run at start.
- **A small receive buffer.** An ESP32 keeps 259 unread bytes and drops what comes after them.

With `--baud N` there is a fifth: bytes pass both ways at the rate of a serial line, ten bits each.
`machine.mem32[CLKDIV]` is its UART's clock divider then, which a program may change; as long as the
client has not changed its own rate likewise, what arrives at either end is garbage.

Run `python -m attn8_host.boards.supervisor`: it prints the port's name and serves until its
standard input closes or it is interrupted.
"""

import argparse
import contextlib
import errno
import fcntl
import functools
import os
import re
import secrets
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Callable
from pathlib import Path

from .running import listed

# ESP32_GENERIC has about 112 KB of Python heap with nothing else running. The suffix "w" scales by
# the word: the unix port's objects are twice as large as the chip's.
HEAP_SIZE = "112wK"
RECEIVE_BUFFER = 259  # bytes; measured on emulated ESP32_GENERIC 1.26.1
# A chip drops a byte that finds the buffer full. Here bytes arrive at once rather than at a line
# rate, so a full buffer gets as long as 259 bytes take at 19,200 baud before it counts as overrun.
OVERRUN_SECONDS = 0.135
LINE_STEP = 16  # bytes that a line with a rate lets through at a time
QUEUE = 65536  # bytes after which whoever sends waits for who does not read
LINE_QUEUE = 4096  # bytes after which a program that prints waits for such a line
CLKDIV = 0x3FF40014  # the address on an ESP32: whole part in bits 0..19, sixteenths in bits 20..23
CLOCK = 80_000_000  # Hz, which it divides
GARBAGE = bytes(0x80 | 37 * byte & 0x7F for byte in range(256))  # what a byte at a wrong rate reads
RATES = {
    getattr(termios, name): int(name[1:]) for name in dir(termios) if re.fullmatch(r"B\d+", name)
}
# A second interrupt before the first is handled would end the unix port; the first waits as long
# for a program that may have ended
INTERRUPT_SECONDS = 0.1
MARKER_SECONDS = 0.005  # a marker is written at once: its rest follows within this time, or never

RAW_REPL = re.compile(
    rb"MicroPython [^\n]*\n(?:Type [^\n]*\n)?>>> \r\n(raw REPL; CTRL-B to exit\r\n>)"
)

# How output ends while a prompt waits: the friendly ones with what is typed after them, the raw one
# with a raw paste that is still coming, or an end-of-text that does not acknowledge such a paste:
# then a program has ended and the prompt is about to come. Anything else is a program that runs.
PROMPT = re.compile(
    rb"(?:\A|\n)(?:>>> |\.\.\. |=== )[^\n]*\Z|[\n\x04]>(?:R\x01\x80\x00\x01*)?\Z|[^\x00\x01]\x04\Z"
)

START_UP = """\
def start():
    import machine, os, sys, vfs
    import micropython as real

    class Module:
        def __init__(self, module):
            for name in dir(module):
                setattr(self, name, getattr(module, name))

    def tell(what):
        sys.stdout.buffer.write({marker!r} + what)

    def kbd_intr(char):
        tell(b"-" if char < 0 else b"+")

    def rename(old, new):
        if any(not isinstance(fs, vfs.VfsPosix) and old.startswith(at) for fs, at in vfs.mount()):
            return os.rename(old, new)
        # A VfsPosix with a root builds both paths in one buffer: it renames a file to itself
        plain.rename(*({root!r} + p if p.startswith("/") else p for p in (old, new)))

    def soft_reset():
        raise SystemExit

    def reset():
        tell(b"r")
        raise SystemExit

    class Registers:
        def __init__(self, words):
            self.words = words

        def __getitem__(self, address):
            return self.words[address]

        def __setitem__(self, address, word):
            self.words[address] = word
            tell(b"d%08x" % word)

    plain = vfs.VfsPosix()
    sys.modules["os"] = Module(os)
    sys.modules["os"].rename = rename
    sys.modules["micropython"] = Module(real)
    sys.modules["micropython"].kbd_intr = kbd_intr
    sys.modules["machine"] = Module(machine)
    sys.modules["machine"].reset = reset
    sys.modules["machine"].soft_reset = soft_reset
    sys.modules["machine"].mem32 = Registers({registers})
    vfs.umount("/")
    vfs.mount(vfs.VfsPosix({root!r}), "/")
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]
    tell(b"s")

def run(name):
    import sys
    try:
        with open(name) as file:
            source = file.read()
    except OSError:
        return
    try:
        exec(compile(source, name, "exec"), globals())
    except Exception as error:
        sys.print_exception(error)

start()
del start
run("boot.py")
if {run_main}:
    run("main.py")
del run
"""


class Line:
    """One direction of a serial line, on which a byte takes `byte_seconds`."""

    def __init__(self) -> None:
        self.byte_seconds = 0.0
        self.waiting = bytearray()
        self._free_at = 0.0  # when the last byte that left had passed

    def put(self, data: bytes) -> None:
        """Sends bytes off."""
        if not self.waiting:
            self._free_at = max(self._free_at, time.monotonic())
        self.waiting += data

    def take(self) -> bytes:
        """What has arrived since the last call."""
        count = len(self.waiting)
        if self.byte_seconds:
            count = min(count, int((time.monotonic() - self._free_at) / self.byte_seconds))
            self._free_at += count * self.byte_seconds
        data = bytes(self.waiting[:count])
        del self.waiting[:count]
        return data

    def wait(self) -> float | None:
        """Seconds until it is worth to take again; None while nothing is under way."""
        if not self.waiting:
            return None
        step = min(LINE_STEP, len(self.waiting))
        return max(0.0, self._free_at + step * self.byte_seconds - time.monotonic())


class Supervisor:
    """Owns the two pseudo-terminals and the MicroPython process between them.

    Args:
        root: folder that the board sees as `/`.
        heap_size: MicroPython's `-X heapsize=` value.
        receive_buffer: unread bytes that the board keeps; what comes after them is lost.
        baud: rate of the line to the client, each way; None: as fast as the computer is.
    """

    def __init__(
        self,
        root: Path,
        heap_size: str = HEAP_SIZE,
        receive_buffer: int = RECEIVE_BUFFER,
        baud: int | None = None,
    ):
        self.root = root.resolve()
        self.heap_size = heap_size
        self.receive_buffer = receive_buffer
        self.baud = baud
        self.line_in = Line()
        self.line_out = Line()
        self.marker = b"\x1b]attn8:" + secrets.token_hex(8).encode() + b":"
        self.client, self.client_side = os.openpty()
        tty.setraw(self.client_side)
        self.port = os.ttyname(self.client_side)
        os.set_blocking(self.client, False)
        self.process: subprocess.Popen[bytes]  # one for each boot
        self.to_client = bytearray()  # has passed the line
        self.to_board = bytearray()

    def serve(self, lifeline: int, announce: Callable[[str], None] | None) -> None:
        """Serves until `lifeline` (a file descriptor) reads end-of-file.

        Calls `announce` with the port's name once MicroPython runs and takes Ctrl-C: a main.py may
        never end.
        """
        child_ended, wakeup = os.pipe()
        os.set_blocking(child_ended, False)
        os.set_blocking(wakeup, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup)
        self._boot(raw=False)
        try:
            while True:
                reads = [child_ended, lifeline]
                if len(self.line_out.waiting) < LINE_QUEUE and len(self.to_client) < QUEUE:
                    reads.append(self.board)
                if len(self.line_in.waiting) + len(self.to_board) < QUEUE:
                    reads.append(self.client)
                writes = [self.client] if self.to_client else []
                waits = [self.line_in.wait(), self.line_out.wait()]
                feeding = self.to_board and not self.starting
                waits += [0.001 if feeding else None, MARKER_SECONDS if self.held else None]
                timeout = min((wait for wait in waits if wait is not None), default=None)
                ready, writable, _ = select.select(reads, writes, [], timeout)
                if lifeline in ready and not os.read(lifeline, 4096):
                    return
                if self.client in ready:
                    self.line_in.put(self._over_the_line(_read(self.client)))
                self.to_board += self.line_in.take()
                if self.to_board and not self.starting:
                    self._feed_board()
                if self.board in ready:
                    self._from_board(_read(self.board))
                    if announce and not self.starting:
                        announce(self.port)
                        announce = None
                elif self.held:
                    self._release()
                self.to_client += self._over_the_line(self.line_out.take())
                if writable:
                    with contextlib.suppress(BlockingIOError):
                        del self.to_client[: os.write(self.client, self.to_client)]
                if child_ended in ready:
                    os.read(child_ended, 4096)
                    if self.process.poll() is not None:
                        self._reboot()
        finally:
            signal.set_wakeup_fd(-1)
            self._kill()

    def _boot(self, raw: bool) -> None:
        """Starts MicroPython; `raw` skips main.py and ends in the raw REPL, as on a chip."""
        self.board, self.board_side = os.openpty()
        tty.setraw(self.board_side)
        self.starting = True  # until MicroPython itself runs and takes Ctrl-C; input waits
        self.binary = False  # True while the board has switched its keyboard interrupt off
        self.hard_reset = False
        self.last_output = b""  # the tail tells which prompt a process ended at
        self.held = b""  # output that may be the start of a marker
        self.column_cr = False
        self.greeting = b"" if raw else None  # start-up output, held until the raw REPL answers
        self.overrun_since: float | None = None
        self.interrupted = 0.0  # when Ctrl-C was passed on last
        self.held_since: float | None = None  # when the Ctrl-C that waits came
        registers = {}
        if self.baud:
            registers[CLKDIV] = _divider(self.baud)
            self.client_baud = 0  # the client's rate when the board first changed its own
            self._set_rate(self.baud)
        root = os.fsencode(self.root).decode("utf-8", "replace")  # MicroPython's, in any locale
        script = START_UP.format(
            marker=self.marker, root=root, registers=registers, run_main=not raw
        )
        with tempfile.NamedTemporaryFile(suffix=".py", delete=False) as file:
            file.write(script.encode())
        self.script = Path(file.name)
        command = [sys.executable, "-X", "utf8", "-c", "import micropython_unix as m; m.main()"]
        command += ["-X", f"heapsize={self.heap_size}", "-i", file.name]
        self.process = subprocess.Popen(
            command,
            stdin=self.board_side,
            stdout=self.board_side,
            stderr=self.board_side,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            cwd=self.root,
        )
        if raw:
            os.write(self.board, b"\x01")

    def _reboot(self) -> None:
        """What a chip does when its program ends: soft reboot, in the mode that it was in."""
        while _readable(self.board):
            data = _read(self.board)
            if not data:
                break
            self._from_board(data)
        self._release()
        status = self.process.returncode
        # The unix port dies of a Ctrl-C that finds its program just ended; a chip does not mind it
        crashed = status < 0 and status != -signal.SIGINT
        if crashed:
            name = signal.Signals(-status).name
            said = b"\r\nvirtual board: MicroPython died of %s\r\n" % name.encode()
            # To who waits for the end of a program it is that, and the error
            self._emit(b"\x04%s\x04" % said if self.raw else said)
        if self.hard_reset:
            self._emit(b"\r\nvirtual board: reset\r\n")
        else:
            self._emit(b"MPY: soft reboot\r\n")
        if self.hard_reset or crashed:
            self.to_board.clear()  # this empties the receive buffer
        else:
            os.set_blocking(self.board_side, False)
            self.to_board[:0] = _read(self.board_side)
        self._kill()
        self._boot(raw=self.raw and not self.hard_reset and not crashed)

    def _kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for descriptor in (self.board, self.board_side):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.script.unlink(missing_ok=True)

    raw = False  # whether the REPL in use is the raw one

    def _feed_board(self) -> None:
        """Passes input on as far as the board's receive buffer has room; drops an overrun."""
        is_data = self.binary or PROMPT.search(self.last_output)
        place = -1 if is_data else self.to_board.find(b"\x03")
        if place >= 0:
            now = time.monotonic()
            self.held_since = self.held_since or now
            # What the program says may be that it has ended, unless it goes on and on
            if now - self.held_since < INTERRUPT_SECONDS and _readable(self.board):
                return
            self.held_since = None
            if now - self.interrupted <= INTERRUPT_SECONDS or self._interrupt():
                del self.to_board[: place + 1]  # what came before waits for a program that ends now
                return
        waiting = struct.unpack("i", fcntl.ioctl(self.board_side, termios.FIONREAD, b"\0" * 4))[0]
        room = self.receive_buffer - waiting
        if room > 0:
            self.overrun_since = None
            del self.to_board[: os.write(self.board, self.to_board[:room])]
        elif self.overrun_since is None:
            self.overrun_since = time.monotonic()
        elif time.monotonic() - self.overrun_since > OVERRUN_SECONDS:
            self.to_board.clear()
            self.overrun_since = None
        if self.baud:
            self.to_board.clear()  # what came at the line's rate and did not fit is lost

    def _interrupt(self) -> bool:
        """Interrupts the program; False if it has just ended and the prompt is about to come.

        A chip does not mind Ctrl-C then, and the unix port would die of the signal. Which of the
        two it is, /proc says of a process that is stopped meanwhile.
        """
        process = self.process.pid
        status = Path(f"/proc/{process}/status")
        if status.exists():  # not on macOS
            os.kill(process, signal.SIGSTOP)
            os.waitid(os.P_PID, process, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            caught = re.search(r"^SigCgt:\s*(\w+)$", status.read_text(), re.M)
            taken = caught is not None and int(caught[1], 16) >> (signal.SIGINT - 1) & 1
        else:
            taken = 1
        if taken:
            self.interrupted = time.monotonic()
            os.kill(process, signal.SIGINT)
        os.kill(process, signal.SIGCONT)
        return bool(taken)

    def _from_board(self, data: bytes) -> None:
        """Takes markers out of the board's output, in order, and passes the rest on."""
        data = self.held + data
        self.held = b""
        *parts, rest = data.split(self.marker)
        for i, part in enumerate(parts):
            self._emit(part)
            following = parts[i + 1] if i + 1 < len(parts) else rest
            size = 9 if following.startswith(b"d") else 1
            if len(following) < size:  # the rest of what the marker says has not come yet
                self.held = self.marker + following
                return
            self._obey(following[:size])
            if i + 1 < len(parts):
                parts[i + 1] = following[size:]
            else:
                rest = following[size:]
        keep = next(
            (n for n in range(min(len(self.marker), len(rest)), 0, -1)
             if rest.endswith(self.marker[:n])),
            0,
        )
        self._emit(rest[: len(rest) - keep])
        self.held = rest[len(rest) - keep :]

    def _obey(self, what: bytes) -> None:
        if what == b"s":
            self.starting = False
        elif what == b"r":
            self.hard_reset = True
        elif what.startswith(b"d"):
            word = int(what[1:], 16)
            self.client_baud = self.client_baud or self._client_rate()
            self._set_rate(16 * CLOCK / ((word & 0xFFFFF) << 4 | word >> 20 & 15))
        else:
            self.binary = what == b"-"

    def _set_rate(self, rate: float) -> None:
        """Has the board's UART send and receive at `rate` baud."""
        self.rate = rate
        self.line_in.byte_seconds = self.line_out.byte_seconds = 10 / rate

    def _over_the_line(self, data: bytes) -> bytes:
        """What arrives: the same, where the client changed its rate as the board changed its own.

        Whatever rate the client had before the board's first change counts as the right one.
        """
        if not self.baud or not self.client_baud:
            return data
        share = self._client_rate() / self.client_baud * self.baud / self.rate
        return data if abs(share - 1) < 0.03 else data.translate(GARBAGE)

    def _client_rate(self) -> int:
        return RATES[termios.tcgetattr(self.client_side)[5]]

    def _release(self) -> None:
        held, self.held = self.held, b""
        self._emit(held)

    def _emit(self, data: bytes) -> None:
        """Queues output for the client, with a chip's line ends unless the board sends binary."""
        if not data:
            return
        self.last_output = (self.last_output + data)[-1024:]
        if self.last_output.endswith((b"raw REPL; CTRL-B to exit\r\n>", b"\x04\x04>")):
            self.raw = True
        elif self.last_output.endswith(b">>> "):
            self.raw = False
        if not self.binary:
            starts_after_cr = self.column_cr
            self.column_cr = data.endswith(b"\r")
            data = re.sub(rb"(?<!\r)\n", b"\r\n", b"\r" + data if starts_after_cr else data)
            data = data[1:] if starts_after_cr else data
        if self.greeting is not None:
            # The unix port greets before it can be asked for the raw REPL; a chip would not
            self.greeting += data
            found = RAW_REPL.search(self.greeting)
            if found is None and len(self.greeting) < 65536:
                return
            data = RAW_REPL.sub(rb"\1", self.greeting, count=1)
            self.greeting = None
        self.line_out.put(data)


def _divider(rate: float) -> int:
    """CLKDIV's word that gives so many baud."""
    sixteenths = round(16 * CLOCK / rate)
    return sixteenths >> 4 | (sixteenths & 15) << 20


def _readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""
    except OSError as error:
        if error.errno == errno.EIO:  # the other side is closed
            return b""
        raise


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a virtual board on a pseudo-terminal.")
    parser.add_argument("--root", type=Path, help="folder to use as the board's file system")
    parser.add_argument("--heap-size", default=HEAP_SIZE)
    parser.add_argument("--baud", type=int, help="rate of the serial line (default: no limit)")
    parser.add_argument("--listed", action="store_true", help="`attn8 boards` lists it")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as stack:
        root = arguments.root or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.mkdir(parents=True, exist_ok=True)
        supervisor = Supervisor(root, arguments.heap_size, baud=arguments.baud)
        if arguments.listed:
            stack.enter_context(listed(supervisor.port))
        with contextlib.suppress(KeyboardInterrupt):
            supervisor.serve(sys.stdin.fileno(), functools.partial(print, flush=True))


if __name__ == "__main__":
    main()
