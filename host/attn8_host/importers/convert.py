"""From a front end's graph to a float model that is checked."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import modelfile
from ..errors import ModelError
from .check import check
from .graph import Node
from .lower import Lowering


def convert(
    output: Node, original: Callable[[np.ndarray], np.ndarray], example: np.ndarray, axis: int,
    owned: Iterable[str], core: str, name: str,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The config and the tensors, float32, of a float model.

    Args:
        output: what the graph gives.
        original: from an input with its batch to the output.
        example: an input with its batch.
        axis: of the batch.
        owned: names of the original's tensors; each has to be part of a layer.
        core: of attention layers.
        name: of the model.

    Raises:
        ModelError: see importers.torch.from_torch.
    """
    shape = [n for i, n in enumerate(example.shape) if i != axis]
    entries: list[dict[str, Any]] = []
    tensors: dict[str, np.ndarray] = {}
    used: set[str] = set()
    for entry, made in Lowering(output, core).entries():
        used |= made.sources
        parts = {key: np.asarray(value, np.float32) for key, value in made.tensors.items()}
        if made.type in ("dense", "attention"):
            biases = [key for key in parts if key.endswith("bias")]
            if not any(parts[key].any() for key in biases):
                entry["bias"] = False
                for key in biases:
                    del parts[key]
        entries.append(entry)
        tensors |= {f"{entry['name']}.{key}": value for key, value in parts.items()}
    for key in owned:
        if key not in used:
            raise ModelError(f"unused tensor {key}: it reaches no layer of the output; take it out "
                             "of the module")
    for key, value in tensors.items():
        if not np.isfinite(value).all():
            raise ModelError(f"{key} {list(value.shape)}: holds infinities; train it again")
    config = {"format": "attn8", "version": 1, "name": name, "input": {"shape": shape},
              "layers": entries}
    modelfile.check_config(config)
    check(config, tensors, original, example)
    return config, tensors
