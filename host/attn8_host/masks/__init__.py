"""Sparse attention masks: which keys each query may attend to."""

from collections.abc import Callable

from . import hnsw, mincut
from .drawn import random
from .mask import Mask
from .patterns import (
    block_diagonal,
    causal,
    full,
    global_indices,
    local_global,
    local_window,
    strided,
)

__all__ = [
    "Mask",
    "block_diagonal",
    "build",
    "causal",
    "full",
    "global_indices",
    "local_global",
    "local_window",
    "random",
    "strided",
]

BUILDERS: dict[str, Callable[..., Mask]] = {
    "full": full,
    "causal": causal,
    "local_window": local_window,
    "global_indices": global_indices,
    "local_global": local_global,
    "block_diagonal": block_diagonal,
    "strided": strided,
    "random": random,
    "from_hnsw_layers": hnsw.from_hnsw_layers,
    "from_hnsw_edges": hnsw.from_hnsw_edges,
    "adaptive": hnsw.adaptive,
    "from_cut": mincut.from_cut,
}


def build(seq_len: int, name: object = "", *arguments: object) -> Mask:
    """A mask from its description as model files hold it: [name of the builder, arguments ...].

    Raises:
        ValueError: there is no such builder, or it refuses the arguments.
    """
    if not isinstance(name, str) or name not in BUILDERS:
        raise ValueError(f"mask: expected one of {', '.join(sorted(BUILDERS))}, got {name}")
    try:
        return BUILDERS[name](seq_len, *arguments)
    except TypeError:
        raise ValueError(f"mask: {name} does not take {list(arguments)}") from None
