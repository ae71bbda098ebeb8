"""`attn8 bench growth`: what an attention layer costs by its tokens, with each core and form."""

from collections.abc import Callable
from typing import Any

from ... import cores
from ...plan.inference import Growth, one_layer

EMBED_DIM, NUM_HEADS = 64, 4
LENGTHS = (16, 32, 64, 128, 256, 512)
BACKENDS = ("turbo", "viper")


def measure(
    arch: str, names: list[str], advance: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Counts a MultiHeadAttention of EMBED_DIM and NUM_HEADS, what calls take included.

    Args:
        arch: "xtensawin" or "rv32imc".
        names: of cores; their options are those of `attn8 plan`.
        advance: called after each core with a backend.

    Returns:
        For each backend and core the points: seq_len, instructions, cycles by a model of the
        pipeline, and whether they are counted, or continued from counts of fewer tokens.
    """
    backends: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for backend in BACKENDS:
        found = backends[backend] = {}
        for name in names:
            causal = cores.get(name).always_causal

            def of_length(n: int, name: str = name, causal: bool = causal) -> Any:
                return one_layer(name, n, EMBED_DIM, NUM_HEADS, causal)

            growth = Growth(of_length, EMBED_DIM, None, arch, backend)
            found[name] = []
            for seq_len in LENGTHS:
                instructions, cycles = growth(seq_len)
                found[name].append({"seq_len": seq_len, "instructions": instructions,
                                    "cycles": cycles, "counted": seq_len <= growth.longest})
            advance()
    return {"isa": arch, "method": "counted", "shape": [EMBED_DIM, NUM_HEADS],
            "backends": backends}
