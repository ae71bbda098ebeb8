"""Model files: safetensors with a JSON config in the metadata (key "config").

The config names the format ("attn8", version 1), the model, its input (shape and scale) and its
layers in order, each with its type, name and what the type asks for (see layers.base). Tensors are
named as in torch.nn.Linear, `layer.weight` [outputs, inputs]; int8 models add `mult` and `shift`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from . import layers
from .errors import ModelError
from .layers.base import INT8, TOKENS
from .schema import (
    COUNT,
    FLAG,
    LIST,
    OBJECT,
    SCALE,
    SHAPE,
    SIZE,
    WORD,
    Kind,
    Tensor,
    check,
    one_of,
)

# What the config says besides its layers, for each format; and what it may say
CONFIGS: dict[str, tuple[dict[str, Kind], dict[str, Kind]]] = {
    "attn8": ({"name": WORD, "input": OBJECT}, {"arena": SIZE, "text": OBJECT}),
    "attn8-train": (
        {"name": WORD, "input": OBJECT, "numbers": WORD, "loss": WORD, "optimizer": OBJECT,
         "batch": SIZE},
        {"clip_norm": SCALE, "schedule": OBJECT, "int8": WORD},
    ),
}
COMMON = {"format": WORD, "version": SIZE, "layers": LIST}
INPUTS: dict[str, tuple[dict[str, Kind], dict[str, Kind]]] = {
    "attn8": ({"shape": SHAPE},
              {"scale": SCALE, "scales": LIST, "offsets": LIST, "axis": COUNT,
               "format": one_of(INT8, TOKENS), "lengths": FLAG}),
    "attn8-train": ({"size": SIZE}, {}),
}


def read(path: Path, form: str = "attn8") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The config and the tensors of a model file.

    Args:
        path: of the file.
        form: the format that its config names, "attn8-train" for what trains.

    Raises:
        ModelError: it is not a safetensors file with such a config of version 1, or the config
            lacks something, or says something that is unknown.
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
    except (KeyError, ValueError, RecursionError):
        raise ModelError(f"{path}: no attn8 config in the metadata") from None
    try:
        check_config(config, form)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return config, tensors


def check_config(config: Any, form: str = "attn8") -> None:
    """Raises ModelError unless a config says all that its layers need, and nothing unknown."""
    if type(config) is not dict or config.get("format") != form or config.get("version") != 1:
        raise ModelError(f"expected an {form} model of version 1")
    needed, optional = CONFIGS[form]
    found = config.get("layers")
    if not (found and type(found) is list and all(map(OBJECT.holds, found))):
        raise ModelError("the config lacks layers")
    check("the model", config, {**COMMON, **needed}, optional)
    check("input", config["input"], *INPUTS[form])
    if config["input"].get("format") == TOKENS and "scale" in config["input"]:
        raise ModelError("input.scale: token ids have none; take it out of the config")
    names: set[str] = set()
    for entry in found:
        for key in ("name", "type"):
            if key not in entry:
                raise ModelError(f"a layer: the config lacks {key}")
            if not WORD.holds(entry[key]):
                raise ModelError(f"a layer.{key}: expected {WORD.words}, got {entry[key]!r}")
        name = entry["name"]
        if name in names or name == "input":
            raise ModelError(f"{name}: two layers have this name")
        try:
            kind = layers.get(entry["type"])
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None
        options = entry.get("options")
        if type(options) is dict and "normalise" in options:  # as files before had it
            options["normalize"] = options.pop("normalise")
        if form == "attn8":
            kind.check(entry)
        else:
            kind.check_training(entry)
        for source in entry.get("inputs", ()):
            if source == name or source not in names | {"input"}:
                raise ModelError(f"{name}.inputs: there is no layer {source} before it")
        names.add(name)


def inputs(config: dict[str, Any]) -> list[list[str]]:
    """Of each layer, the names of what it takes: by default the layer before, at first "input"."""
    names = ["input", *(entry["name"] for entry in config["layers"])]
    return [entry.get("inputs", [before])
            for before, entry in zip(names, config["layers"], strict=False)]


def parts(
    entry: dict[str, Any], wanted: dict[str, Tensor], tensors: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The tensors of one layer by part.

    Raises:
        ModelError: one is missing, or of another type or shape.
    """
    found = {}
    for part, tensor in wanted.items():
        key = f"{tensor.owner or entry['name']}.{part}"
        if key in tensors:
            tensor.check(key, tensors[key])
            found[part] = tensors[key]
        elif tensor.needed:
            raise ModelError(f"missing tensor {key}")
    return found


def refuse_unused(
    wanted: dict[str, dict[str, Tensor]], tensors: dict[str, np.ndarray]
) -> None:
    """Raises ModelError where a tensor belongs to no layer; `wanted` has those of each layer."""
    known = {f"{tensor.owner or name}.{part}" for name, found in wanted.items()
             for part, tensor in found.items()}
    for key in tensors:
        if key not in known:
            raise ModelError(f"unused tensor {key}; take it out of the file")


def pack(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    """The content of a model file."""
    # safetensors takes a tensor's memory as it lies, also of one that is transposed
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return save(tensors, {"config": json.dumps(config)})


def write(path: Path, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Writes a model file."""
    path.write_bytes(pack(config, tensors))
