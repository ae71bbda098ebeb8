"""Runs a model on a board over many inputs and proves every tensor (`attn8 run`, `attn8 demo`)."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..boards import Board
from ..deploy import MODELS, deploy, place, push
from ..errors import RemoteError
from ..model import Model
from ..needed import needed
from .compare import Verification, verify

COLUMNS = (
    TextColumn("{task.description:<36}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
)


@dataclass
class RunResult:
    """What a run measured; the keys of its JSON."""

    board: dict[str, Any]
    transport: str
    model: str
    samples: int
    bit_exact: bool
    need_weights: bool  # whether all scores and attention weights are among the compared
    compared: int  # int values
    mismatches: int
    digest: str  # CRC-32 over every tensor of every run, as the board computed it
    expected_digest: str  # as NumPy did
    device_us_per_inference: float  # median
    p50_us: float  # the same; and the time that 95 % of the inferences take at most
    p95_us: float
    max_us: float
    ram_bytes: int  # Python heap that the package, the model and its buffers take on the board
    link_bytes_per_s: float  # payload, both directions, while frames were under way
    link_retries: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(
    board: Board,
    model: Model,
    path: Path,
    inputs: np.ndarray,
    console: Console,
    need_weights: bool = True,
    lengths: Sequence[int | None] | None = None,
) -> tuple[RunResult, Verification]:
    """Deploys the package and a model, streams inputs and compares every tensor.

    Args:
        model: the reference of the model file `path`.
        inputs: int8 [samples, input size].
        need_weights: compare (and return) all scores and attention weights as well, which takes
            memory on the board; where it has too little, that is said and they are left out.
        lengths: how many tokens of each input count; None: all.
    """
    with Progress(*COLUMNS, console=console) as bar:
        def progress(description: str) -> Callable[[int, int], None]:
            task = bar.add_task(description, visible=False)  # until there is something to send
            return lambda done, total: bar.update(
                task, completed=done, total=total, visible=True
            )

        data = path.read_bytes()
        target = place(path)
        with board.keeping():
            deploy(board, progress=progress("device/ to /lib/attn8 (bytes)"),
                   needed=needed(model.config, data))
            push(board, target, data, progress(f"the model to {MODELS} (bytes)"))
        board.enter_repl()  # a board afresh: names that deployment used stay until then
        baseline = board.used_heap()  # before anything of attn8 is imported
        with board.serve() as client:
            try:
                client.load(target, need_weights)
            except RemoteError as error:
                if not need_weights or error.kind != "MemoryError":
                    raise
                said = str(error).partition(";")[0]
                console.print(f"{said}: goes on as with --no-weights", highlight=False)
                model, need_weights = Model(model.config, model.tensors, False), False
                client.load(target, False)
            ram = client.heap()[1] - baseline
            task = bar.add_task("infer and compare", total=len(inputs))
            found = verify(client, model, inputs, lambda: bar.advance(task), lengths)
            traffic = client.statistics
    result = RunResult(
        board=board.info.as_dict(),
        transport=f"mpremote serial, {board.transport.serial.baudrate} baud",
        model=model.name,
        samples=found.samples,
        bit_exact=found.bit_exact,
        need_weights=need_weights,
        compared=found.compared,
        mismatches=found.mismatches,
        digest=f"{found.digest:08x}",
        expected_digest=f"{found.expected_digest:08x}",
        device_us_per_inference=statistics.median(found.microseconds),
        p50_us=statistics.median(found.microseconds),
        p95_us=float(np.percentile(found.microseconds, 95)),
        max_us=float(max(found.microseconds)),
        ram_bytes=ram,
        link_bytes_per_s=traffic.payload / traffic.seconds,
        link_retries=traffic.resent,
    )
    return result, found
