"""Model files: safetensors with a JSON config in the metadata (key "config").

The config names the format ("attn8", version 1), the model, its input (shape and scale) and its
layers in order, each with its type, name, sizes and integer constants; a dense layer with `rows`
runs over that many rows, such as the tokens of a feed-forward layer. Tensors are named as in
torch.nn.Linear, `layer.weight` [outputs, inputs]; int8 models add `mult` and `shift`.
"""

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from .errors import ModelError


def read(path: Path, form: str = "attn8") -> tuple[dict, dict[str, np.ndarray]]:
    """The config and the tensors of a model file.

    Args:
        path: of the file.
        form: the format that its config names, "attn8-train" for what trains.

    Raises:
        ModelError: it is not a safetensors file with such a config of version 1.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except Exception as error:  # safetensors' own exception type is private to its Rust half
        raise ModelError(f"{path}: not a safetensors file that can be read ({error})") from None
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError):
        raise ModelError(f"{path}: no attn8 config in the metadata") from None
    if config.get("format") != form or config.get("version") != 1:
        raise ModelError(f"{path}: expected an {form} model of version 1")
    return config, tensors


def pack(config: dict, tensors: dict[str, np.ndarray]) -> bytes:
    """The content of a model file."""
    return save(tensors, {"config": json.dumps(config)})


def write(path: Path, config: dict, tensors: dict[str, np.ndarray]) -> None:
    """Writes a model file."""
    path.write_bytes(pack(config, tensors))


def core_parameters(tensors: dict[str, np.ndarray], layer: str) -> dict[str, np.ndarray]:
    """Those of an attention layer's core by keyword, [num_heads, ...] each."""
    prefix = f"{layer}.core."
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix)
    }
