"""A board that is open: mpremote's transport, with one-line errors and what the board is."""

import ast
import contextlib
import io
import os
import re
import secrets
import stat
import struct
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport
from serial.tools import list_ports

from ..errors import Attn8Error, BoardError, LinkError, RemoteError, explained
from ..interrupts import uninterrupted
from ..link import RESCUE, Client
from . import uart
from .answers import BYTES, literal
from .discovery import WINDOWS, present
from .limited import Limit

BAUD = 115200
ATTEMPTS = 2  # to enter the REPL
TIMEOUT = 10  # seconds that a read of the REPL waits for a byte
PROMPT_SECONDS = 11  # for an attempt to enter the REPL, and for what is answered at once
FILE_SECONDS = 20  # for a piece of a file
FLASH_SECONDS = 60  # for a piece of work on a chip's file system

# The names of .mpy architectures, in the order of sys.implementation._mpy >> 10
ARCHES = (
    None, "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp",
    "xtensa", "xtensawin", "rv32imc", "rv64imc",
)  # fmt: skip

# The package's own server; the word is there before, which spares the board the public names
SERVE = """serve = None
try:
    from attn8.link import serve
except ImportError:  # as .py files: see bundle.py
    from attn8.link.server import serve
serve()
"""

PROBE = """
import sys, os
i = sys.implementation
print(repr((i.name, ".".join(str(n) for n in i.version[:3]), getattr(i, "_machine", sys.platform),
            getattr(i, "_mpy", 0))))
"""

IDENTITY = (
    re.compile(r"[!-~]{1,40}"), re.compile(r"\d{1,6}(\.\d{1,6}){1,2}"),
    re.compile(r"[^\0-\x1f\x7f-\x9f]{0,200}[!-~]"), range(1 << 16),
)  # fmt: skip

# What attn8 needs of the firmware, tried rather than looked up
VIPER = """
@micropython.viper
def twice(x: int) -> int:
    return x + x
print(twice(21))
"""


@dataclass
class BoardInfo:
    """What a board says that it is."""

    kind: str  # "virtual", "serial" or "qemu"
    port: str
    implementation: str
    version: str
    machine: str
    arch: str | None  # of native code; None where the firmware has no native loader
    mpy_version: str  # of .mpy files, such as "6.3"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.machine}, {self.implementation} {self.version} ({self.arch}) at {self.port}"


class Board:
    """A MicroPython board in its raw REPL.

    Args:
        port: what pyserial opens: a device path or a URL.
        kind: "serial", "virtual" for the project's own, or "qemu".
        baud: of the line; by default 115200, and the link negotiates a faster one where it can.
        clkdiv: address of the clock divider of the UART that the link may speed up; by default
            that of the chip, where the chip's UART is on the line.
        close: called when the board is closed.
        flash_seconds: that a piece of work on its file system may take.

    Raises:
        BoardError: the port cannot be opened, or no MicroPython answers there.
    """

    def __init__(
        self,
        port: str,
        kind: str = "serial",
        baud: int | None = None,
        clkdiv: int | None = None,
        close: Callable[[], None] = lambda: None,
        flash_seconds: float = FLASH_SECONDS,
    ):
        self._close = close
        self.flash_seconds = flash_seconds
        self.preludes: list[str] = []  # code that ran and stands, until the board starts afresh
        self._keeping = 0
        self._baud = baud or BAUD
        try:
            self.transport = SerialTransport(port, baudrate=self._baud, timeout=TIMEOUT)
        except (TransportError, OSError, ValueError):
            raise BoardError(why_closed(port)) from None
        self._limit = Limit(self.transport.serial)
        try:
            self.enter_repl()
            name, version, machine, mpy = self.evaluate(PROBE, IDENTITY, PROMPT_SECONDS)
        except BaseException:
            with uninterrupted():
                self._leave()
            raise
        self.info = BoardInfo(
            kind=kind,
            port=port,
            implementation=name,
            version=version,
            machine=machine,
            arch=ARCHES[mpy >> 10] if mpy >> 10 < len(ARCHES) else None,
            mpy_version=f"{mpy & 0xFF}.{mpy >> 8 & 3}",
        )
        self.clkdiv = clkdiv or (None if baud else uart.clkdiv(machine, port))
        self._rates: tuple[int, ...] = uart.RATES  # to try when a server starts

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with uninterrupted():
            if kind is not None and not issubclass(kind, Attn8Error):
                with contextlib.suppress(BoardError):  # it may be in the middle of something
                    self.enter_repl()
            self.close()

    def close(self) -> None:
        """Leaves the board at its friendly REPL and closes the port."""
        self._leave()
        self._close()

    def _leave(self) -> None:
        with contextlib.suppress(TransportError, OSError), self._limit.within(PROMPT_SECONDS):
            self.transport.exit_raw_repl()
        with contextlib.suppress(OSError):
            self.transport.close()

    def enter_repl(self, soft_reset: bool = True) -> None:
        """Interrupts what runs and enters the raw REPL, by default of a freshly started board."""
        if soft_reset:
            self.preludes.clear()
        with _silenced(), self._errors("answer with a MicroPython REPL"):
            # A lost board may have taken frames for what is typed, and answer that first: only what
            # answers a question of now is the REPL
            for _ in range(ATTEMPTS - 1):
                with contextlib.suppress(TransportError, ValueError, struct.error):
                    if self._try_repl(soft_reset):
                        break
                # What came too late may have been taken for Ctrl-D, which starts the board afresh
                self.preludes.clear()
            else:
                if not self._try_repl(soft_reset):
                    raise TransportError("what it says is no answer")
            self.transport.serial.timeout = TIMEOUT

    def _try_repl(self, soft_reset: bool) -> bool:
        with self._limit.within(PROMPT_SECONDS):
            return self._ask_for_repl(soft_reset)

    def _ask_for_repl(self, soft_reset: bool) -> bool:
        transport = self.transport
        transport.serial.timeout = 0.1  # so that timeout_overall is kept
        # A server that a lost session left behind takes no Ctrl-C, but it takes this
        transport.serial.write(RESCUE)
        transport.enter_raw_repl(soft_reset, timeout_overall=10)
        transport.serial.timeout = 2
        transport.use_raw_paste = True
        question = str(secrets.randbits(29))  # a text would stay on the board, as all its names do
        answer, _ = transport.exec_raw(f"print({question})", timeout=2)
        return bytes(answer).strip() == question.encode()

    def execute(self, code: str, timeout: float = 60) -> str:
        """Runs code on the board and returns what it printed.

        Args:
            code: MicroPython.
            timeout: seconds in which it ends.

        Raises:
            RemoteError: it raised; with the last line of the traceback.
            BoardError: the board does not answer.
        """
        with _silenced(), self._errors("answer"), self._limit.within(timeout):
            output, error = self.transport.exec_raw(textwrap.dedent(code), timeout=timeout)
        _raise(error)
        return bytes(output).decode("utf-8", "replace").replace("\r\n", "\n")

    def follow(self, code: str, line: Callable[[str], None], silence: float = 600) -> None:
        """Runs code on the board and passes each line on when it is printed.

        Args:
            code: MicroPython.
            line: gets them, without their ends.
            silence: seconds that may be between two lines.

        Raises:
            RemoteError, BoardError: as `execute`; and what `line` raises.
        """
        data = bytearray()

        def take(byte: bytes) -> None:
            data.extend(byte)
            if byte == b"\n":
                self._limit.extend(silence)
                text = data.decode("utf-8", "replace").rstrip()
                data.clear()
                line(text)

        with self._errors("answer"), self._limit.within(silence):
            _, error = self.transport.exec_raw(textwrap.dedent(code), silence, take)
        _raise(error)

    def require(self, prelude: str) -> None:
        """Runs code whose functions others call, unless the board has it."""
        if prelude not in self.preludes:
            self.execute(prelude)
            self.preludes.append(prelude)

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Takes what `require` put there off the board when the outermost such block is done."""
        self._keeping += 1
        try:
            yield
        finally:
            self._keeping -= 1
        if self.preludes and not self._keeping:
            self.execute(f"del {', '.join(sorted(set().union(*map(names, self.preludes))))}")
            self.preludes.clear()

    def evaluate_tuple(self, code: str, timeout: float = 60) -> tuple[Any, ...]:
        """Runs code that prints the repr of a literal; parses it without evaluating it."""
        values: tuple[Any, ...] = self.evaluate(code, tuple, timeout)
        return values

    def evaluate(self, code: str, shape: Any, timeout: float = 60) -> Any:
        """The same for any literal of a shape (see answers.py)."""
        return literal(self.execute(code, timeout), shape)

    def free_heap(self) -> int:
        """Bytes of the board's Python heap that are free."""
        return self._heap("mem_free")

    def used_heap(self) -> int:
        """Bytes of the board's Python heap that are in use."""
        return self._heap("mem_alloc")

    def _heap(self, what: str) -> int:
        code = f"import gc\ngc.collect()\nprint(gc.{what}())"
        return int(self.evaluate(code, BYTES, PROMPT_SECONDS))

    def write_file(
        self, path: str, data: bytes, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Writes a file on the board; `progress` gets (bytes written, bytes in all).

        Raises:
            BoardError: the board does not answer.
            RemoteError: it cannot write there, for one because its file system is full.
        """

        def written(done: int, total: int) -> None:
            self._limit.extend(FILE_SECONDS)
            if progress:
                progress(done, total)

        with self._file(path):
            self.transport.fs_writefile(path, data, progress_callback=written)

    def read_file(self, path: str) -> bytes:
        """Reads a file of the board.

        Raises:
            BoardError: the board does not answer.
            RemoteError: there is no such file.
        """
        with self._file(path):
            further = lambda done, total: self._limit.extend(FILE_SECONDS)  # noqa: E731
            return bytes(self.transport.fs_readfile(path, progress_callback=further))

    def require_viper(self) -> None:
        """Raises BoardError where the firmware cannot run attn8's kernels."""
        try:
            if self.execute(VIPER, PROMPT_SECONDS).strip() == "42":
                return
        except RemoteError:
            pass
        raise BoardError(
            f"{self.info.machine} has no viper emitter; flash a standard firmware of this chip "
            "(micropython.org/download), whose native code generator is on"
        )

    @contextlib.contextmanager
    def serve(self, program: str = SERVE) -> Iterator[Client]:
        """Runs a server on the board and yields the link to it; then the REPL is back.

        Args:
            program: what serves, by default the attn8 server that was deployed.
        """
        with self._errors("answer"), self._limit.within(PROMPT_SECONDS):
            self.transport.exec_raw_no_follow(program)
        client = Client(self.transport.serial)
        try:
            client.wait_ready()
        except LinkError:
            self.enter_repl()
            raise
        whole = False
        try:
            if self.clkdiv and self._rates:
                rate = client.speed_up(self.clkdiv, self._rates)
                self._rates = (rate,) if rate else ()
            yield client
            whole = True
        except RemoteError:
            whole = True
            raise
        finally:
            with uninterrupted(), contextlib.suppress(BoardError, OSError):
                client.end(self._baud)
                # A board that was lost may have taken frames for what is typed: start afresh
                self.enter_repl(soft_reset=not whole)

    @contextlib.contextmanager
    def _file(self, path: str) -> Iterator[None]:
        """For mpremote's file functions: an OSError of a path is the board's, not the port's."""
        with _silenced(), self._errors("answer"), self._limit.within(FILE_SECONDS):
            try:
                yield
            except OSError as error:
                if error.errno is None or error.strerror != path:
                    raise
                raise RemoteError(f"the board says: {path}: {os.strerror(error.errno)}") from None

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except TransportExecError as error:
            raise RemoteError(f"the board says: {error.error_output.strip()}") from None
        except (TransportError, OSError, IndexError, ValueError, struct.error) as error:
            raise BoardError(
                f"the board at {self.transport.device_name} does not {what} ({_line(error)}); "
                "is it the right port, with MicroPython on it, free of other programs, and do its "
                "boot.py and main.py print nothing?"
            ) from None


def names(code: str) -> set[str]:
    """Those of the functions, classes and values that a program leaves behind; modules are no one's
    own."""
    found: set[str] = set()
    for node in ast.parse(code).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {part.id for target in node.targets for part in ast.walk(target)
                      if isinstance(part, ast.Name)}
    return found


def _raise(error: bytes) -> None:
    """What code on the board raised, if it did."""
    if error:
        lines = error.decode("utf-8", "replace").strip().splitlines()
        said = lines[-1] if lines else "an error"
        kind = said.partition(":")[0]
        if number := re.fullmatch(r"OSError: (?:\[Errno )?(\d{1,4})(?:\] \w+)?", said):
            said += f" ({os.strerror(int(number[1]))})"
        raise RemoteError(f"the board says: {explained(said)}", kind)


def first_answer(
    open_board: Callable[[], Board], seconds: float, alive: Callable[[], bool] = lambda: True
) -> Board:
    """Opens a board that is still starting: tries for so many seconds, while it is alive.

    A port of the chip's own USB vanishes and comes back meanwhile.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return open_board()
        except BoardError:
            if time.monotonic() > deadline or not alive():
                raise
            time.sleep(0.5)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """mpremote prints what it received before it raises; the error's line is enough."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def why_closed(port: str) -> str:
    """Why a port could not be opened, and what to do."""
    if "://" in port:
        return f"cannot open {port}; is the other end running?"
    if not present(port):
        ports = ", ".join(p.device for p in list_ports.comports()) or "none"
        return f"no such board or port: {port}; ports here: {ports}; or use --board virtual"
    if not WINDOWS.fullmatch(port):
        if not is_terminal(port):
            return f"{port} is no serial port"
        if not os.access(port, os.R_OK | os.W_OK):
            return f"no permission to open {port}; add yourself to its group (often dialout)"
    return f"{port} is busy: another program has it open; close that and try again"


def is_terminal(port: str) -> bool:
    """Whether a path that exists is a serial port or a pseudo-terminal."""
    if not stat.S_ISCHR(os.stat(port).st_mode):
        return False
    if any(info.device == os.path.realpath(port) for info in list_ports.comports()):
        return True  # to open one may reset its board
    try:
        opened = os.open(port, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return True  # who may not open it cannot tell
    try:
        return os.isatty(opened)
    finally:
        os.close(opened)
