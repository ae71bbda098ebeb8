"""Model files: safetensors with a JSON config in the metadata (key "config").

The config names the format ("attn8", version 1), the model, its input (shape and scale) and its
layers in order, each with its type, name and what the type asks for (see layers.base). Tensors are
named as in torch.nn.Linear, `layer.weight` [outputs, inputs]; int8 models add `mult` and `shift`,
and those of int16 products may be in pairs of rows there (see numerics.pairs).
"""

import json
import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from . import layers
from .errors import ModelError
from .grammar import parse
from .layers.base import INT8, TOKENS
from .numerics import pairs
from .paths import require_file
from .schema import (
    COUNT,
    FLAG,
    INTEGER,
    LIST,
    NUMBERS,
    OBJECT,
    SCALE,
    SHAPE,
    SIZE,
    WORD,
    Kind,
    Tensor,
    check,
    one_of,
    within,
)

# What the config says besides its layers, for each format; and what it may say
CONFIGS: dict[str, tuple[dict[str, Kind], dict[str, Kind]]] = {
    "attn8": ({"name": WORD, "input": OBJECT}, {"arena": within(1, (1 << 24) - 1), "text": OBJECT}),
    "attn8-train": (
        {"name": WORD, "input": OBJECT, "numbers": WORD, "loss": WORD, "optimizer": OBJECT,
         "batch": SIZE},
        {"clip_norm": SCALE, "held": SIZE, "schedule": OBJECT, "int8": WORD, "recompute": FLAG,
         "labels": SIZE},
    ),
}
LARGE = 1 << 26  # bytes of a file that is mapped, not read
# Of safetensors, in the order in which it writes tensors, from the last one on
KINDS = {"BOOL": "?", "U8": "u1", "I8": "i1", "I16": "i2", "U16": "u2", "F16": "f2", "I32": "i4",
         "U32": "u4", "F32": "f4", "F64": "f8", "I64": "i8", "U64": "u8"}
RATIOS = "mult", "shift"  # of a product, which a board reads with its int8 weight
MOST_INPUT = 1 << 22  # values of an input
MAX_HEADER = 32768  # bytes of JSON: what a board reads at a time
COMMON = {"format": WORD, "version": SIZE, "layers": LIST}
INPUTS: dict[str, tuple[dict[str, Kind], dict[str, Kind]]] = {
    "attn8": ({"shape": SHAPE},
              {"scale": SCALE, "scales": NUMBERS, "offsets": NUMBERS, "axis": COUNT,
               "format": one_of(INT8, TOKENS), "lengths": FLAG}),
    "attn8-train": ({"size": SIZE}, {"mult": INTEGER, "tokens": SIZE, "format": one_of(TOKENS)}),
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
    require_file(path)
    try:
        _check_header(path)
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            tensors = _mapped(path) if path.stat().st_size >= LARGE else {
                name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ModelError(f"{path}: a folder; expected a file in it, such as attn8 import "
                         "makes of a folder") from None
    except ModelError:
        raise
    except Exception as error:  # safetensors' own exception type is private to its Rust half
        raise ModelError(f"{path}: not a safetensors file that can be read ({error})") from None
    try:
        config = parse(metadata["config"])
    except KeyError:
        raise ModelError(f"{path}: no attn8 config in the metadata") from None
    except ValueError as error:
        raise ModelError(f"{path}: no attn8 config in the metadata ({error})") from None
    try:
        check_config(config, form)
        tensors = _in_rows(config, tensors)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return config, tensors


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, which has been opened as one, without reading them."""
    start, tensors = header(path)
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found = {}
    for name, about in tensors.items():
        kind, count = np.dtype(KINDS[about["dtype"]]), math.prod(about["shape"])
        values = np.frombuffer(content, kind, count, start + about["data_offsets"][0])
        found[name] = values.reshape(about["shape"])
    return found


def header(path: Path) -> tuple[int, dict[str, Any]]:
    """Of a safetensors file, which has been opened as one: where its tensors begin, and of each its
    dtype, shape and data_offsets from there."""
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        found = json.loads(file.read(start - 8))
    found.pop("__metadata__", None)
    return start, found


def _check_header(path: Path) -> None:
    """Raises ModelError where a board would refuse a header that safetensors takes."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            found = parse(file.read(min(length, path.stat().st_size)))
        except ValueError as error:
            made = "; attn8 import makes one of it" if path.suffix == ".onnx" else ""
            raise ModelError(f"{path}: not a safetensors file: header: {error}{made}") from None
    for name, entry in found.items() if type(found) is dict else ():
        if name != "__metadata__" and type(entry) is dict and len(entry) != 3:
            raise ModelError(f"{path}: header: {name}: expected dtype, shape and data_offsets")


def require_short_header(path: Path) -> None:
    """Raises ModelError where a header is longer than a board takes."""
    with path.open("rb") as file:
        _require_short(path, int.from_bytes(file.read(8), "little"), {})


def _require_short(where: object, length: int, config: dict[str, Any]) -> None:
    if length > MAX_HEADER:
        remedy = "take fewer layers, or shorter names"
        channels = len(config.get("input", {}).get("scales", ()))
        if 64 * channels > length:  # what a scale and an offset take, at most
            remedy = (f"{channels} scales and offsets of the input do not fit: give the input of "
                      'the float file one "scale"')
        raise ModelError(f"{where}: its header has {length} bytes, and a board takes {MAX_HEADER}; "
                         f"{remedy}")


def check_config(config: Any, form: str = "attn8") -> None:
    """Raises ModelError unless a config says all that its layers need, and nothing unknown."""
    said = config.get("format") if type(config) is dict else None
    if form == "attn8-train" and said == "attn8":
        raise ModelError("it is a model and no training file; attn8 train MODEL DATA.npz says what "
                         "its training takes")
    if form == "attn8" and said == "attn8-train":
        raise ModelError("it is a training file and no model; give the model that it trains")
    if said != form or config.get("version") != 1:
        raise ModelError(f"expected an {form} model of version 1")
    needed, optional = CONFIGS[form]
    found = config.get("layers")
    if not (found and type(found) is list and all(map(OBJECT.holds, found))):
        raise ModelError("the config lacks layers")
    check("the model", config, {**COMMON, **needed}, optional)
    check("input", config["input"], *INPUTS[form])
    size = math.prod(config["input"]["shape"]) if form == "attn8" else 1
    if size > MOST_INPUT:
        raise ModelError(f"input.shape: expected at most {MOST_INPUT} values, got {size}")
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


def _paired(entry: dict[str, Any], tensors: dict[str, np.ndarray]) -> list[str]:
    """The names of a layer's weights that may be in pairs of rows."""
    names = [f"{entry['name']}.{part}weight" for part in layers.get(entry["type"]).pairs]
    return [name for name in names if name in tensors]


def _in_rows(
    config: dict[str, Any], tensors: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The tensors of a file, weights in pairs of rows as rows; their entries say "paired" then.

    Raises:
        ModelError: some weights of a layer are in pairs, and others are not.
    """
    found = dict(tensors)
    for entry in config["layers"]:
        names = _paired(entry, tensors)
        if not any(tensors[name].ndim == 3 for name in names):
            continue
        for name in names:
            weight = tensors[name]
            rows = pairs.unpaired(weight) if weight.ndim == 3 and weight.shape[2] == 2 else weight
            if rows.dtype != np.int8 or rows is weight or not pairs.fits(rows):
                raise ModelError(f"{name}: expected int8 in pairs of rows, and inputs in fours, 8 "
                                 f"at least, got {weight.dtype} {list(weight.shape)}")
            found[name] = rows
        entry["paired"] = True
    return found


def _in_pairs(
    config: dict[str, Any], tensors: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The reverse of `_in_rows`: what a file has instead."""
    paired = [entry for entry in config.get("layers", ())
              if isinstance(entry, dict) and entry.get("paired")]
    if not paired:
        return config, tensors
    found = {name: pairs.paired(tensors[name]) for entry in paired
             for name in _paired(entry, tensors)}
    bare = [{key: value for key, value in entry.items() if key != "paired"}
            if entry in paired else entry for entry in config["layers"]]
    return {**config, "layers": bare}, {**tensors, **found}


def _order(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> list[str]:
    """The tensors' names as they lie in a file: by type, as safetensors.numpy.save has it, but mult
    and shift of a product right before its int8 weight, so that a board reads them with it.
    """
    order = [np.dtype(kind) for kind in KINDS.values()]
    owners = {entry["name"]: entry["embedding"] for entry in config.get("layers", ())
              if isinstance(entry, dict) and "embedding" in entry}

    def place(name: str) -> tuple[Any, ...]:
        layer, _, part = name.rpartition(".")
        weight = f"{owners.get(layer, layer)}.weight"
        if part in RATIOS and weight in tensors and tensors[weight].dtype == np.int8:
            return -order.index(np.dtype(np.int8)), weight, layer in owners, layer, part
        return -order.index(tensors[name].dtype), name, True, "~"

    return sorted(tensors, key=place)


def _pieces(
    where: object, config: dict[str, Any], tensors: dict[str, np.ndarray]
) -> Iterator[bytes]:
    """The content of a model file, a tensor at a time; where: begins an error."""
    names = {np.dtype(kind): name for name, kind in KINDS.items()}
    config, tensors = _in_pairs(config, tensors)
    about: dict[str, Any] = {
        "__metadata__": {"config": json.dumps(config, ensure_ascii=False)}}
    end = 0
    for name in _order(config, tensors):
        start, end = end, end + tensors[name].nbytes
        about[name] = {"dtype": names[tensors[name].dtype], "shape": list(tensors[name].shape),
                       "data_offsets": [start, end]}
    head = json.dumps(about, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    _require_short(where, len(head), config)
    yield len(head).to_bytes(8, "little") + head
    for name in list(about)[1:]:
        yield tensors[name].tobytes()


def pack(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    """The content of a model file.

    Raises:
        ModelError: its header is longer than a board takes.
    """
    return b"".join(_pieces(config.get("name"), config, tensors))


def write(path: Path, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Writes a model file, whole or not at all.

    Raises:
        ModelError: its header is longer than a board takes.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            for piece in _pieces(path, config, tensors):
                file.write(piece)
        part.replace(path)  # one that is mapped stays as it is for whoever reads it
    finally:
        part.unlink(missing_ok=True)
