"""From a front end's graph to a float model that is checked."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import modelfile
from ..errors import ModelError
from .check import check
from .graph import Node
from .lengths import Masked, with_lengths
from .lower import Lowering


@contextmanager
def one_of_several(count: int, how: str) -> Iterator[None]:
    """An error that one of several outputs may be without says how to choose one."""
    try:
        yield
    except ModelError as error:
        if count == 1:
            raise
        raise ModelError(f"{error}. There are {count} outputs: choose one, as {how}") from None


def convert(
    outputs: Sequence[Node], original: Callable[[np.ndarray], list[np.ndarray]],
    example: np.ndarray, axis: int, owned: Iterable[str], core: str, name: str,
    masked: Masked | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The config and the tensors, float32, of a float model.

    Args:
        outputs: what the graph gives.
        original: from an input with its batch to the outputs.
        example: an input with its batch.
        axis: of the batch.
        owned: names of the original's tensors; each has to be part of a layer.
        core: of attention layers.
        name: of the model.
        masked: as `original`, from an input and how many of its tokens count, where the original
            takes a mask or lengths; the outputs are then those of a mask that shows all.

    Raises:
        ModelError: see importers.torch.from_torch.
    """
    shape = [n for i, n in enumerate(example.shape) if i != axis]
    entries: list[dict[str, Any]] = []
    tensors: dict[str, np.ndarray] = {}
    used: set[str] = set()
    lowering = Lowering(outputs, core)
    for entry, made in lowering.entries():
        used |= made.sources
        parts = {key: np.asarray(value, np.float32) for key, value in made.tensors.items()}
        if made.type in ("dense", "attention", "cross_attention"):
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
            raise ModelError(f"{key} {list(value.shape)}: holds NaN or infinities; train it again")
    given: dict[str, Any] = {"shape": shape}
    if example.dtype.kind in "iu":
        given["format"] = "tokens"
        for names, entry in zip(modelfile.inputs({"layers": entries}), entries, strict=True):
            if "input" in names and entry["type"] != "embedding":
                raise ModelError(f"{entry['name']}: takes token ids {shape} as numbers; only an "
                                 "embedding takes them")
    config = {"format": "attn8", "version": 1, "name": name, "input": given, "layers": entries}
    modelfile.check_config(config)
    check(config, tensors, original, example, lowering.names())
    if masked:
        config = with_lengths(config, tensors, masked, example, lowering.names())
    return config, tensors
