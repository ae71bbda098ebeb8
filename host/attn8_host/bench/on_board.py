"""`attn8 bench --board`: how long the layer takes on a board, by the board's own clock."""

from ..boards import Board
from ..deploy import deploy
from ..quantize import exact_constants
from .isa import EMBED_DIM, NUM_HEADS, SEQ_LEN

RUN = """
import attn8, gc, time
from array import array
from attn8 import MultiHeadAttention
s, e, h = {shape!r}
tensors = {{}}
for part in ("q", "k", "v", "out"):
    name = "attn." + part
    tensors[name + ".weight"] = array("b", bytes((i * 37 & 255) % 255 for i in range(e * e)))
    tensors[name + ".bias"] = array("i", bytes(4 * e))
    tensors[name + ".mult"] = array("h", [20000] * e)
    tensors[name + ".shift"] = array("b", [25] * e)
layer = MultiHeadAttention(s, e, h, tensors, {constants!r})
del tensors
gc.collect()
x = array("b", bytes((i * 91 & 255) % 255 for i in range(s * e)))
calls = (
    ("MultiHeadAttention", layer, (x,)),
    ("projection", layer.out, (x,)),
    ("attention, one head", layer._calls[0][0], layer._calls[0][1]),
)
def median(call, arguments):
    times = []
    for _ in range({repeats}):
        start = time.ticks_us()
        call(*arguments)
        times.append(time.ticks_diff(time.ticks_us(), start))
    times.sort()
    return times[len(times) // 2]
print((attn8.backend(), [(name, median(call, arguments)) for name, call, arguments in calls]))
"""


def measure(board: Board, backend: str = "turbo", repeats: int = 9) -> dict:
    """Deploys attn8 with kernels for the layer's sizes and times the layer and its parts.

    `backend` is "turbo", which boards whose chip has none do without, "viper", or "simd", which
    only ESP32-S3 takes.
    """
    s, e, h = SEQ_LEN, EMBED_DIM, NUM_HEADS
    shape = {"seq_len": s, "embed_dim": e, "num_heads": h}
    config = {"layers": [{"type": "attention", "core": "exact", **shape}]}
    deploy(board, config=config, backend=backend)
    constants = exact_constants(e // h, 0.03, 0.03, 0.03, 0.02)
    code = RUN.format(shape=(s, e, h), constants=constants, repeats=repeats)
    used, ((_, whole), *parts) = board.evaluate_tuple(code)
    macs = {"projection": s * e * e, "attention, one head": 2 * s * s * (e // h)}
    total = 4 * macs["projection"] + h * macs["attention, one head"]
    on_chip = board.info.kind == "serial" and not board.info.port.startswith("socket://")
    # A board cannot count its instructions: those per MAC are left to --isa
    return {
        "board": str(board.info),
        "method": "on chip" if on_chip else "emulated",
        "backend": used,
        "layer": {"name": "MultiHeadAttention", "shape": [s, e, h], "instructions_per_mac": None,
                  "microseconds": whole, "ns_per_mac": round(1000 * whole / total, 1)},
        "kernels": [
            {"name": name, "shape": [s, e, h], "instructions_per_mac": None,
             "microseconds": time, "ns_per_mac": round(1000 * time / macs[name], 1)}
            for name, time in parts
        ],
    }
