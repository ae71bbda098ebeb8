"""`attn8 soak`: requests without end, every answer checked, the board's heap watched."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..boards import Board
from ..deploy import deploy, place, push
from ..errors import BoardError, LinkError
from ..link import Client
from ..model import Model, load
from ..paths import MODELS
from .compare import verify

MODEL = MODELS / "digits.safetensors"
LONGEST_ECHO = 1100  # bytes
ROUND = 10  # inferences between two looks at the heap
PATIENCE = 60  # seconds that a board that went away has to come back
RETRY = 0.5  # seconds between two looks whether it did


@dataclass
class Soak:
    """What a soak test saw; the keys of its JSON."""

    board: dict[str, Any]
    seconds: float = 0.0
    requests: int = 0  # frames that the board carried out
    inferences: int = 0
    compared: int = 0  # int values and bytes
    wrong: int = 0  # of them; wrong digests count as one
    faults: int = 0  # losses and damage on the line, repaired by asking again
    reconnects: int = 0
    heap_drift: int = 0  # bytes by which the board's Python heap grew (see growth): must be 0

    @property
    def passed(self) -> bool:
        """True if nothing was wrong and the heap did not grow."""
        return self.compared > 0 and self.wrong == 0 and self.heap_drift == 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def soak(
    open_board: Callable[[], Board],
    seconds: float,
    seed: int,
    advance: Callable[[Soak], None],
) -> Soak:
    """Sends requests for `seconds`; connects again where the board or its port goes away.

    Args:
        open_board: opens the board, at the start and after it was lost.
        seconds: how long.
        seed: of the random inputs.
        advance: called every few requests with what was seen so far.

    Raises:
        BoardError: the board did not come back within a minute.
        RemoteError: the board refuses a request, for one because its memory is full.
    """
    rng = np.random.default_rng(seed)
    model = load(MODEL)
    result: Soak | None = None
    lost = False
    start = last_heard = time.monotonic()
    while result is None or lost or time.monotonic() - start < seconds:
        try:
            with open_board() as board:
                path = place(MODEL)
                if result is None:
                    deploy(board)
                    push(board, path, MODEL.read_bytes())
                    result = Soak(board.info.as_dict())
                looks: list[int] = []
                with board.serve() as client:
                    try:
                        client.load(path)
                        if not result.inferences:
                            start = time.monotonic()
                        _infer(client, model, rng, result)
                        result.reconnects += lost
                        lost = False
                        looks.append(_heap(client))
                        while time.monotonic() - start < seconds:
                            for _ in range(ROUND):
                                _infer(client, model, rng, result)
                                _echo(client, rng, result)
                            looks.append(_heap(client))
                            last_heard = time.monotonic()
                            result.seconds = last_heard - start
                            advance(result)
                    finally:
                        result.heap_drift = max(result.heap_drift, growth(looks))
                        result.requests += client.statistics.requests
                        result.faults += client.statistics.faults
        except (BoardError, LinkError):
            if result is None or time.monotonic() - last_heard > PATIENCE:
                raise
            lost = True
            time.sleep(RETRY)
    return result


def growth(looks: Sequence[int]) -> int:
    """Bytes by which a heap grew, from what was in use at each look.

    A look may find too much: a collector also keeps what a forgotten word on the stack points to.
    So the least of the later half is compared with the least of the earlier one.
    """
    half = len(looks) // 2
    return max(0, min(looks[half:]) - min(looks[:half])) if half else 0


def _infer(client: Client, model: Model, rng: np.random.Generator, result: Soak) -> None:
    found = verify(client, model, rng.integers(-127, 128, (1, client.input_size), np.int8))
    result.inferences += 1
    result.compared += found.compared
    result.wrong += found.mismatches + (found.digest != found.expected_digest)


def _echo(client: Client, rng: np.random.Generator, result: Soak) -> None:
    sent = rng.bytes(int(rng.integers(LONGEST_ECHO + 1)))
    received = client.echo(sent)
    result.compared += len(sent)
    result.wrong += len(sent) != len(received)
    result.wrong += sum(a != b for a, b in zip(sent, received, strict=False))


def _heap(client: Client) -> int:
    """Bytes in use on the board while nothing but the model is loaded."""
    client.reserve(0)
    return client.heap()[1]
