"""A board's own sensor, as `attn8 record` reads it, and attn8.Stream over what it gives."""

import binascii
import re
from collections import deque
from collections.abc import Callable

import numpy as np

from ..boards import Board
from ..errors import LinkError, ModelError, RemoteError
from ..feed import feeding
from ..link.replies import DTYPES
from ..model import Model
from ..record import SILENCE, prepare
from .results import Result, Shown

# Behind a driver and record.RECORD, which makes `sensor`. Prints what it has (a line a tensor, and
# the channels), then a line a sample and, for each result, some a tensor and one that ends it
WATCH = """
import gc
from binascii import b2a_base64, crc32
def watch(path, hop, period, results, keep, wanted):
    import attn8
    ITEMSIZES = {"b": 1, "B": 1, "h": 2, "H": 2, "i": 4}
    model = attn8.load(path, need_weights=keep)
    found = []
    for name, code, values in model.outputs:
        if name in wanted:
            print("tensor", len(found), code, len(values), name)
            found.append(memoryview(values))
    print("channels", sensor.channels)
    state = [0, results, 0, 0]
    heap = [0, 0]
    def result(stream):
        spent = time.ticks_diff(time.ticks_us(), state[0])
        crc = 0
        for i in range(len(found)):
            values = found[i]
            crc = crc32(values, crc)
            for at in range(0, len(values), 192):
                print("part", i, b2a_base64(values[at : at + 192]).decode().strip())
        if time.ticks_diff(time.ticks_ms(), state[2]) > 1000 or not heap[0]:
            gc.collect()
            heap[0] = gc.mem_alloc()
            heap[1] = gc.mem_free()
            state[2] = time.ticks_ms()
        print("result", spent, heap[0], heap[1], state[3], crc)
        state[1] -= 1
    stream = attn8.Stream(model, hop, result, channels=sensor.channels)
    sample = array("i", bytes(4 * sensor.channels))
    due = time.ticks_us()
    while state[1]:
        wait = time.ticks_diff(due, time.ticks_us())
        if wait > 0:
            time.sleep_us(wait)
        elif wait < -period:
            state[3] += 1
            stream.reset()
            due = time.ticks_us()
        if not sensor.read(sample):
            raise ValueError("the sensor has no more samples")
        print(*sample)
        due = time.ticks_add(due, period)
        stream.put(sample)
        state[0] = time.ticks_us()
        stream.poll()
"""
NUMBER = r"-?\d{1,10}"
FOREVER = -1


def sense(
    board: Board, target: str, most: int | None, take: Callable[[Result], None], *,
    shown: Shown, driver: str, hop: int, rate: int, keep: bool,
) -> None:
    """Has a board run a model over what its sensor gives.

    Args:
        board: that has the package and the model.
        target: the model's path there.
        most: results after which it ends; None: it goes on.
        take: gets each result.
        shown: what the model's tensors mean.
        driver: a text with a class Sensor, see record.source.
        hop: samples from one result to the next.
        rate: samples a second.
        keep: whether the board keeps and sends attention weights; where it has no memory for them,
            NumPy computes them from the same window.

    Raises:
        RemoteError: the sensor fails or ends, or the model does not go with it.
        LinkError: what the board says is damaged, or its results are not NumPy's.
    """
    prepare(board, driver)
    board.execute(WATCH)
    wanted = tuple(shown.tensors) if keep else (shown.model.output,)
    reader = Reader(shown, keep, take)
    call = (f"watch({target!r}, {hop}, {1_000_000 // rate}, {most or FOREVER}, {keep}, "
            f"{wanted!r})")
    try:
        board.follow(call, reader.line, SILENCE + (shown.model.input_size + hop) / rate)
    except RemoteError as error:
        if error.kind != "MemoryError" or not keep or reader.results:
            raise
        sense(board, target, most, take, shown=shown, driver=driver, hop=hop, rate=rate,
              keep=False)


def require(model: Model) -> None:
    """Raises ModelError where a model's file does not say how it takes what a sensor gives."""
    channels, inner = feeding(model.config, model.tensors)
    if channels is None or inner != 1:
        raise ModelError("expected input.channels along the input's last axis, for samples of a "
                         "sensor; make the file with attn8 quantize")


class Reader:
    """Takes what WATCH prints, line by line."""

    def __init__(self, shown: Shown, keep: bool, take: Callable[[Result], None]):
        self.results = 0
        self._shown, self._keep, self._take = shown, keep, take
        self._tensors: list[tuple[str, np.dtype, int]] = []
        self._parts: list[bytearray] = []
        self._channels = 0
        self._sample = re.compile("")
        self._window: deque[list[int]] = deque()

    def line(self, said: str) -> None:
        """Raises LinkError where it is no line of WATCH."""
        kind, _, rest = said.partition(" ")
        if self._channels and self._sample.fullmatch(said):
            self._window.append([int(value) for value in said.split()])
        elif self._channels and (found := re.fullmatch(r"(\d{1,4}) ([A-Za-z0-9+/=]+)", rest)):
            if kind != "part" or int(found[1]) >= len(self._parts):
                raise _damaged(said)
            try:
                self._parts[int(found[1])] += binascii.a2b_base64(found[2], strict_mode=True)
            except binascii.Error:
                raise _damaged(said) from None
        elif found := re.fullmatch(r"result (\d+) (\d+) (\d+) (\d+) (\d+)", said):
            self._end(*map(int, found.groups()))
        elif found := re.fullmatch(r"tensor \d+ ([bhHifd]) (\d{1,8}) (.+)", said):
            self._tensors.append((found[3], DTYPES[found[1]], int(found[2])))
            self._parts.append(bytearray())
        elif found := re.fullmatch(r"channels (\d{1,4})", said):
            self._channels = int(found[1])
            size = self._shown.model.input_size
            if not self._channels or size % self._channels:
                raise RemoteError(f"the sensor has {self._channels} channels, and the model takes "
                                  f"windows of {size} values")
            self._sample = re.compile(f"{NUMBER}( {NUMBER}){{{self._channels - 1}}}", re.A)
            self._window = deque(maxlen=size // self._channels)
        else:
            raise _damaged(said)

    def _end(self, microseconds: int, used: int, free: int, gaps: int, crc: int) -> None:
        """A result is whole."""
        tensors, found = {}, 0
        for (name, dtype, size), part in zip(self._tensors, self._parts, strict=True):
            found = binascii.crc32(part, found)
            if len(part) != size * dtype.itemsize:
                raise _damaged(f"{len(part)} bytes of {name}")
            tensors[name] = np.frombuffer(bytes(part), dtype)
            part.clear()
        if found != crc or len(self._window) != self._window.maxlen:
            raise _damaged(f"a result with the CRC-32 {crc:08x}")
        signal = np.array(self._window)
        model = self._shown.model
        by_board = tensors
        if not self._keep:
            by_board = model(model.feed(signal.reshape(model.config["input"]["shape"])).ravel())
            if (by_board[model.output].ravel() != tensors[model.output]).any():
                raise LinkError("the board's results are not those of NumPy; deploy again")
        self.results += 1
        self._take(Result(signal, self._shown.probabilities(tensors), self._shown.maps(by_board),
                          microseconds, (used, used + free), self._keep, gaps=gaps))


def _damaged(said: str) -> LinkError:
    return LinkError(f"expected samples and results, the board said: {said[:60]!r}")
