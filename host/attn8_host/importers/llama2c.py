"""Checkpoints of llama2.c (karpathy/llama2.c): legacy files and those of version 1.

Legacy: seven int32 (dim, hidden_dim, layers, heads, key-value heads, vocabulary, context; a
negative vocabulary says that the head has a weight of its own), then float32, matrix by matrix of
all layers, and two tables of rotary positions, which are computed here. Version 1: "ak42" and a
version, the same seven with a byte that says whether the head is tied, 256 bytes in all, and then
the norms before the matrices.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError
from ..paths import require_file
from ..tokenizer import Tokenizer
from . import decoder

MAGIC = 0x616B3432
HEADER = "<7i"
NAMES = ("dim", "hidden_dim", "layers", "heads", "kv_heads", "vocab_size", "context")
EPS, BASE = 1e-5, 10000.0


def read(
    path: Path, context: int | None = None, tokenizer: Path | None = None, name: str | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The float model of a checkpoint: the config and the tensors.

    Args:
        path: of the file.
        context: tokens that the model has room for, by default those of the checkpoint, and at most
            516.
        tokenizer: a tokenizer.bin, which goes along.
        name: of the model, by default that of the file.

    Raises:
        ModelError: it is not a checkpoint that this knows, or is cut off; or the tokenizer is none,
            or has another number of pieces.
    """
    require_file(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    try:
        config, tensors = _read(data, name or path.stem, context)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    if tokenizer is not None:
        found = Tokenizer.read(tokenizer)
        try:
            found.check(config)
        except ModelError as error:
            raise ModelError(f"{tokenizer}: {error}") from None
        tensors |= found.tensors()
    return config, tensors


def _read(
    data: bytes, name: str, context: int | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if len(data) < struct.calcsize(HEADER):
        raise ModelError(f"a checkpoint of llama2.c begins with 28 bytes, and this has {len(data)}")
    (magic,) = struct.unpack_from("<I", data)
    newer = magic == MAGIC
    if newer:
        (version,) = struct.unpack_from("<i", data, 4)
        if version != 1:
            raise ModelError(f"version {version} of llama2.c; version 1 and legacy files can be "
                             "imported")
        if len(data) < 256:
            raise ModelError(f"cut off: its header is 256 bytes, and this has {len(data)}")
        values, tied, start = struct.unpack_from(HEADER, data, 8), data[36] != 0, 256
    else:
        values, start = struct.unpack_from(HEADER, data), 28
        tied = values[5] > 0
    sizes = dict(zip(NAMES, values, strict=True))
    sizes["vocab_size"] = abs(sizes["vocab_size"])
    for key, most in zip(NAMES, (4096, 1 << 15, 1000, 4096, 4096, 1 << 15, 1 << 20), strict=True):
        if not 1 <= sizes[key] <= most:
            raise ModelError(f"{key}: expected 1 to {most}, got {sizes[key]}; a checkpoint of "
                             "llama2.c (legacy or version 1)?")
    dim, heads, kv_heads = (sizes[key] for key in ("dim", "heads", "kv_heads"))
    if dim % heads or heads % kv_heads or dim // heads % 2:
        raise ModelError(f"heads: expected a divisor of dim {dim} with heads of an even width, as "
                         f"positions turn pairs of values, and a multiple of kv_heads {kv_heads}, "
                         f"got {heads}; train it with other heads")
    made = decoder.Sizes(**{**sizes, "context": decoder.room(sizes["context"], context)}, eps=EPS)
    return decoder.llama(name, made, _matrices(data, start, sizes, newer, tied), BASE)


def _matrices(
    data: bytes, start: int, sizes: dict[str, int], newer: bool, tied: bool
) -> dict[str, np.ndarray]:
    n, e, hidden = sizes["layers"], sizes["dim"], sizes["hidden_dim"]
    kv = e // sizes["heads"] * sizes["kv_heads"]
    shapes: dict[str, tuple[int, ...]] = {
        "words": (sizes["vocab_size"], e), "attention_norm": (n, e), "q": (n, e, e),
        "k": (n, kv, e), "v": (n, kv, e), "out": (n, e, e), "ffn_norm": (n, e),
        "w1": (n, hidden, e), "w2": (n, e, hidden), "w3": (n, hidden, e), "norm": (e,),
    }
    if newer:
        norms = ("attention_norm", "ffn_norm", "norm")
        shapes = {**{key: shapes[key] for key in norms},
                  **{key: shape for key, shape in shapes.items() if key not in norms}}
    else:  # tables of the cosines and sines of rotary positions
        half = e // sizes["heads"] // 2
        shapes |= {"cosines": (sizes["context"], half), "sines": (sizes["context"], half)}
    if not tied:
        shapes["head"] = (sizes["vocab_size"], e)
    needed = start + 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    if len(data) != needed:
        raise ModelError(f"expected {needed} bytes as its header says, got {len(data)}; a whole "
                         "checkpoint of llama2.c (legacy or version 1)?")
    found = {}
    for key, shape in shapes.items():
        count = int(np.prod(shape))
        found[key] = np.frombuffer(data, "<f4", count, start).reshape(shape)
        start += 4 * count
    return found
