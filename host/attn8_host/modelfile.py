"""Model files: safetensors with a JSON config in the metadata (key "config").

The config names the format ("attn8", version 1), the model, its input (shape and scale) and its
layers in order, each with its type, name, sizes and integer constants; a dense layer with `rows`
runs over that many rows, such as the tokens of a feed-forward layer. Tensors are named as in
torch.nn.Linear, `layer.weight` [outputs, inputs]; int8 models add `mult` and `shift`.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from .errors import ModelError

SIZE = "a whole number from 1"
SHAPE = "a list of whole numbers from 1"
COUNT = "a whole number from 0"
INTEGER = "a whole number"
SCALE = "a number above 0"
WORD = "a word"
FLAG = "true or false"
PHI = "relu, relu+1 or elu+1"
LIST = "a list"
OBJECT = "an object"

# What the config says besides its layers
CONFIGS = {
    "attn8": {"name": WORD, "input": OBJECT},
    "attn8-train": {"name": WORD, "numbers": WORD, "loss": WORD, "optimiser": OBJECT,
                    "batch": SIZE},
}  # fmt: skip

# And of each type of layer of a model, besides its type and name
LAYERS: dict[str, dict[str, str]] = {
    "attention": {"seq_len": SIZE, "embed_dim": SIZE, "num_heads": SIZE, "core": WORD,
                  "causal": FLAG},
    "conv1d": {"length": SIZE, "kernel_size": SIZE, "stride": SIZE, "filters": SIZE},
    "convert": {"format": WORD, "shift": INTEGER},
    "dense": {"in_features": SIZE, "out_features": SIZE},
    "mean_pool": {"seq_len": SIZE, "embed_dim": SIZE},
    "relu": {},
    "reshape": {"shape": SHAPE},
    "self_attention_1d": {"seq_len": SIZE, "embed_dim": SIZE, "projection_dim": SIZE,
                          "format": WORD},
}  # fmt: skip

# Of the cores (docs/mechanisms.md)
OPTIONS = {
    "block_size": SIZE, "cache_len": SIZE, "global_indices": LIST, "mask": LIST, "normalise": FLAG,
    "phi": PHI, "precise": FLAG, "window": COUNT,
}  # fmt: skip

_IS: dict[str, Callable] = {
    SIZE: lambda value: type(value) is int and value > 0,
    SHAPE: lambda value: type(value) is list and value and all(map(_IS[SIZE], value)),
    COUNT: lambda value: type(value) is int and value >= 0,
    INTEGER: lambda value: type(value) is int,
    SCALE: lambda value: type(value) in (int, float) and 0 < value < math.inf,
    WORD: lambda value: type(value) is str and value,
    FLAG: lambda value: type(value) is bool,
    PHI: lambda value: value in ("relu", "relu+1", "elu+1"),
    LIST: lambda value: type(value) is list,
    OBJECT: lambda value: type(value) is dict,
}


def read(path: Path, form: str = "attn8") -> tuple[dict, dict[str, np.ndarray]]:
    """The config and the tensors of a model file.

    Args:
        path: of the file.
        form: the format that its config names, "attn8-train" for what trains.

    Raises:
        ModelError: it is not a safetensors file with such a config of version 1, or the config
            lacks something of CONFIGS or LAYERS.
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
    if type(config) is not dict or config.get("format") != form or config.get("version") != 1:
        raise ModelError(f"{path}: expected an {form} model of version 1")
    try:
        _expect("the model", config, CONFIGS[form])
        layers = config.get("layers")
        if not (layers and type(layers) is list and all(map(_IS[OBJECT], layers))):
            raise ModelError("the config lacks layers")
        for entry in layers:
            _expect("a layer", entry, {"name": WORD, "type": WORD})
        if form == "attn8":
            _check(config)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return config, tensors


def _check(config: dict) -> None:
    """Raises ModelError unless the config says all that the layers of a model need."""
    _expect("input", config["input"], {"shape": SHAPE}, {"scale": SCALE})
    names = set()
    for entry in config["layers"]:
        name, kind = entry["name"], entry["type"]
        if name in names:
            raise ModelError(f"{name}: two layers have this name")
        names.add(name)
        if kind not in LAYERS:
            known = ", ".join(LAYERS)
            raise ModelError(f"{name}: unknown layer type {kind}; expected one of {known}")
        _expect(name, entry, LAYERS[kind], {"rows": SIZE, "options": OBJECT})
        options = entry.get("options", {})
        if not options.keys() <= OPTIONS.keys():
            raise ModelError(f"{name}.options: expected some of {', '.join(OPTIONS)}")
        _expect(f"{name}.options", options, {}, OPTIONS)


def _expect(
    where: str, given: dict, wanted: dict[str, str], optional: dict[str, str] | None = None
) -> None:
    for key, what in {**wanted, **(optional or {})}.items():
        if key not in given and key in wanted:
            raise ModelError(f"{where}: the config lacks {key}")
        if key in given and not _IS[what](given[key]):
            raise ModelError(f"{where}.{key}: expected {what}, got {json.dumps(given[key])}")


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
