"""`attn8 bench density`: instructions of the sparse core against the density of its mask."""

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np

from ...cores.exact import exact_constants
from ...isa.device import Device, Tally

SEQ_LEN, HEAD_DIM = 128, 16
SCALE = 0.03  # of random operands: three in ten weights are zero, fewer with smaller scales
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)  # of pairs
# From a level to the description of a mask of about that density
MASKS: dict[str, Callable[[float], list[Any]]] = {
    "random": lambda level: ["random", level, 1],
    "window": lambda level: ["local_window", round((level * SEQ_LEN - 1) / 2) if level < 1 else
                             SEQ_LEN],
}  # fmt: skip


BACKENDS = ("turbo", "viper")  # the kernels of both cores: in machine code, and viper
RUNS = len(BACKENDS) * (1 + len(MASKS) * len(LEVELS))


def measure(arch: str, advance: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Counts one head of the sparse core, and of the exact core with the same backend beside it.

    Args:
        arch: "xtensawin" or "rv32imc".
        advance: called after each of the RUNS.

    Returns:
        For each backend, instructions of the machine code: `dense`, and `points`, each with mask,
        density, instructions and `ratio` to `dense`.
    """
    rng = np.random.default_rng(0)
    operands = [
        array("b", rng.integers(-127, 128, SEQ_LEN * HEAD_DIM).astype(np.int8).tobytes())
        for _ in range(4)
    ]
    constants = exact_constants(HEAD_DIM, SCALE, SCALE, 0.03, 0.02)
    backends = {}
    for backend in BACKENDS:
        device = Device(arch, backend)
        attn8, tally = device.attn8, device.tally

        def count(core: Callable[..., object], tally: Tally = tally) -> int:
            tally.counted.clear()
            core(*operands)
            advance()
            return sum(tally.counted.values())

        dense = count(attn8.Exact(SEQ_LEN, HEAD_DIM, **constants))
        points = []
        for name, describe in MASKS.items():
            for level in LEVELS:
                mask = attn8.masks.build(SEQ_LEN, *describe(level))
                counted = count(attn8.Sparse(SEQ_LEN, HEAD_DIM, mask=mask, **constants))
                points.append({
                    "mask": name, "density": mask.density, "instructions": counted,
                    "ratio": round(counted / dense, 4),
                })  # fmt: skip
        backends[backend] = {"dense": dense, "points": points}
    return {
        "isa": arch, "method": "counted", "shape": [SEQ_LEN, HEAD_DIM], "backends": backends,
    }  # fmt: skip
