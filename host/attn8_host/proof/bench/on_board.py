"""`attn8 bench --board`: how long the layer takes on a board, by the board's own clock."""

import re
from typing import Any

from ...boards import Board
from ...cores.exact import exact_constants
from ...deploy import deploy
from ...errors import BoardError
from ...forms import files_for
from .count import EMBED_DIM, NAIVE_LAYER, NUM_HEADS, SEQ_LEN

# The least of some calls each, in microseconds: what else a computer does only adds to it
LEAST = """
import gc, time
from array import array
s, e, h = {shape!r}
constants = {constants!r}
def least(repeats, call, *arguments):
    times = []
    for _ in range(repeats):
        start = time.ticks_us()
        call(*arguments)
        times.append(time.ticks_diff(time.ticks_us(), start))
    return min(times)
"""

RUN = """
import attn8
from attn8 import MultiHeadAttention
tensors = {}
for part in ("q", "k", "v", "out"):
    name = "attn." + part
    tensors[name + ".weight"] = array("b", bytes((i * 37 & 255) % 255 for i in range(e * e)))
    tensors[name + ".bias"] = array("i", bytes(4 * e))
    tensors[name + ".mult"] = array("h", [20000] * e)
    tensors[name + ".shift"] = array("b", [25] * e)
layer = MultiHeadAttention(s, e, h, tensors, constants)
del tensors
gc.collect()
x = array("b", bytes((i * 91 & 255) % 255 for i in range(s * e)))
print((attn8.backend(), least(9, layer, x), least(9, layer.out, x),
       least(9, layer._calls[0][0], *layer._calls[0][1])))
"""

# A projection and a head, with what layer_naive.upy defines
NAIVE = """
try:
    from attn8 import EXP2
except ImportError:  # as .py files
    from attn8.tables import EXP2
x = bytes((i * 91 & 255) % 255 for i in range(s * e))
w = bytes((i * 37 & 255) % 255 for i in range(e * e))
out = bytearray(s * e)
c = array("i", [constants[k] for k in ("score_mult", "score_shift", "score_limit", "out_num",
                                       "out_shift")])
scores, weights = array("i", bytes(4 * s)), array("H", bytes(2 * s))
def sum_of(values):
    total = 0
    for value in values:
        total = (31 * total + value) & 0xFFFFFF
    return total
projection = least(9, project, x, w, out, s, e, 20000, 25)
first = sum_of(out)
head = least(9, attend, x, x, x, out, s, e, e // h, c, EXP2, scores, weights)
print((projection, head, first, sum_of(out)))
"""


def measure(board: Board, backend: str | None = None) -> dict[str, Any]:
    """Deploys attn8 and times the layer and its parts.

    Beside them the same layer in naive viper and, the same source without types, in plain
    MicroPython: a projection and a head are timed, and four and all of them taken. Of the
    projection `plain_to_naive` says by how much they differ: the least and the most of ROUNDS runs.

    Args:
        board: any; it keeps the kernels that were timed last.
        backend: "turbo", "viper", or "simd", which only ESP32-S3 takes; None for turbo and viper
            where the chip has turbo kernels, else viper.

    Raises:
        BoardError: the board has no turbo kernels, or does not take them.
    """
    can = bool(files_for(board.info, "turbo"))
    if backend == "turbo" and not can:
        raise BoardError(
            f"{board.info.machine} has no turbo kernels; measure it with --backend viper"
        )
    backends = [backend] if backend else ["viper", "turbo"] if can else ["viper"]
    on_chip = board.info.kind == "serial" and not board.info.port.startswith("socket://")
    timed = {name: _time(board, name) for name in backends}
    *others, used = backends
    runs = [[_time_naive(board, source) for source in _naive_sources()] for _ in range(ROUNDS)]
    if any(naive[2:] != plain[2:] for naive, plain in runs):
        raise BoardError("naive viper and plain MicroPython differ in their results")
    ratios = [plain[0] / naive[0] for naive, plain in runs]
    # A board cannot count its instructions: those per MAC are left to --isa
    return {
        "board": str(board.info),
        "method": "on chip" if on_chip else "emulated",
        "backend": used,
        "layer": timed[used][0],
        **{f"layer_{name}": timed[name][0] for name in others},
        **{
            f"layer_{key}": _row(
                f"MultiHeadAttention, {name}",
                4 * min(run[i][0] for run in runs) + NUM_HEADS * min(run[i][1] for run in runs),
                MACS["MultiHeadAttention"],
            )
            for i, (key, name) in enumerate([("naive", "naive viper"),
                                             ("plain", "plain MicroPython")])
        },
        "plain_to_naive": [round(min(ratios), 1), round(max(ratios), 1)],
        "kernels": [row for name in backends for row in timed[name][1:]],
    }


ROUNDS = 5  # of naive viper and plain MicroPython, one after the other
_PROJECTION = SEQ_LEN * EMBED_DIM**2
_HEAD = 2 * SEQ_LEN**2 * EMBED_DIM // NUM_HEADS
MACS = {
    "MultiHeadAttention": 4 * _PROJECTION + NUM_HEADS * _HEAD,
    "projection": _PROJECTION,
    "attention, one head": _HEAD,
}


def _row(name: str, microseconds: int, macs: int) -> dict[str, Any]:
    return {
        "name": name, "shape": [SEQ_LEN, EMBED_DIM, NUM_HEADS], "instructions_per_mac": None,
        "microseconds": microseconds, "ns_per_mac": round(1000 * microseconds / macs, 1),
    }  # fmt: skip


def _code(code: str) -> str:
    shape = SEQ_LEN, EMBED_DIM, NUM_HEADS
    constants = exact_constants(EMBED_DIM // NUM_HEADS, 0.03, 0.03, 0.03, 0.02)
    return LEAST.format(shape=shape, constants=constants) + code


def _time(board: Board, backend: str) -> list[dict[str, Any]]:
    """The layer, a projection and a head with the kernels of a backend."""
    deploy(board, backend=backend)
    board.enter_repl()  # with nothing imported of what was there before
    used, *times = board.evaluate_tuple(_code(RUN))
    if used != backend:
        raise BoardError(f"{board.info.machine} does not take its {backend} kernels, but {used}")
    return [_row(f"{name}, {backend}", time, macs)
            for (name, macs), time in zip(MACS.items(), times, strict=True)]


def _naive_sources() -> tuple[str, str]:
    """layer_naive.upy, and the same without decorators and types."""
    source = NAIVE_LAYER.read_text()
    plain = re.sub(r": (ptr8|ptr16|ptr32|int)\b", "", source)
    return source, plain.replace("@micropython.viper", "")


def _time_naive(board: Board, source: str) -> tuple[int, int, int, int]:
    """Microseconds of a projection and of a head, and a sum over what each gave."""
    board.enter_repl()
    return board.evaluate_tuple(_code(source + NAIVE), timeout=600)
