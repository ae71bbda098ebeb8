"""Multi-head attention."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..cores import CORES


class MultiHeadAttention:
    """int8 [seq_len, embed_dim] -> [seq_len, embed_dim], with any core.

    Args:
        num_heads: divides embed_dim.
        linears: the layers q, k, v and out.
        constants: keywords of the core.
        core: its name.
        causal: whether a token attends only to itself and those before it.
        need_weights: whether `outputs` gets the intermediates of the cores.
        parameters: keywords of the core that differ between the heads, [num_heads, ...] each.
        options: more keywords of the core, such as a window.

    After a call `outputs` holds q, k, v and heads as [num_heads, seq_len, head_dim] and, with
    need_weights, the intermediates of each head's core, under the names that the board uses.

    Raises:
        ValueError: embed_dim is no multiple of num_heads.
        TypeError: these are not the keywords of the core.
    """

    def __init__(
        self,
        num_heads: int,
        linears: Mapping[str, Callable],
        constants: dict[str, Any],
        core: str = "exact",
        causal: bool = False,
        need_weights: bool = True,
        parameters: dict[str, np.ndarray] | None = None,
        **options: Any,
    ):
        self.num_heads = num_heads
        self.linears = linears
        self.need_weights = need_weights
        self.cores = []
        for h in range(num_heads):
            share = {key: values[h] for key, values in (parameters or {}).items()}
            self.cores.append(CORES[core](**constants, **options, **share, causal=causal))
        self.outputs: dict[str, np.ndarray] = {}

    def __call__(
        self,
        x: np.ndarray,
        memory: np.ndarray | None = None,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """int8 x [seq_len, embed_dim].

        Args:
            memory: int8 [key_len, embed_dim], where keys and values come from, if not from x.
            key_padding_mask: [key_len], not 0 where a key is padding (exact core).
        """
        embed_dim = x.shape[1]
        if embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim: expected a multiple of num_heads {self.num_heads}, got {embed_dim}"
            )
        sources = {"q": x} | dict.fromkeys("kv", x if memory is None else memory)
        q, k, v = (
            self.linears[part](source).reshape(len(source), self.num_heads, -1).transpose(1, 0, 2)
            for part, source in sources.items()
        )
        options = {} if key_padding_mask is None else {"key_padding_mask": key_padding_mask}
        heads = np.stack(
            [core(*qkv, **options) for core, *qkv in zip(self.cores, q, k, v, strict=True)]
        )
        self.outputs = {"q": q, "k": k, "v": v}
        for h, core in enumerate(self.cores if self.need_weights else []):
            self.outputs.update({f"{part}.{h}": values for part, values in core.outputs.items()})
        self.outputs["heads"] = heads
        return self.linears["out"](heads.transpose(1, 0, 2).reshape(x.shape))
