"""From a front end's graph to a float model that is checked."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import cores, float_model, modelfile
from ..cores import exact, sparse
from ..errors import ModelError
from .check import check
from .graph import Node
from .lengths import Masked, with_lengths
from .lower import Lowering

LEFT_OUT = logging.getLogger("attn8.import")


@contextmanager
def one_of_several(count: int, how: str) -> Iterator[None]:
    """An error that one of several outputs may be without says how to choose one."""
    try:
        yield
    except ModelError as error:
        if count == 1:
            raise
        raise ModelError(f"{error}. There are {count} outputs: choose one, as {how}") from None


def _undecided(output: Node) -> tuple[Node, Callable[[np.ndarray], np.ndarray]]:
    """The logits of an output that is a log_softmax or an argmax at the end, of any other that
    itself; and what makes the output of their values."""
    steps: list[Node] = []
    while output.op in ("log_softmax", "argmax") or (
            steps and steps[-1].op == "argmax" and output.op == "softmax"):
        steps.append(output)
        (output,) = output.variable

    def finish(values: np.ndarray) -> np.ndarray:
        for step in reversed(steps):
            values = step.compute(values.reshape(step.variable[0].shape))
        return values

    return output, finish


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
    decided = [_undecided(output) for output in outputs]
    lowering = Lowering([logits for logits, _ in decided], core)
    for entry, made in lowering.entries():
        used |= made.sources
        parts = {key: value if value.dtype == np.uint8 else np.asarray(value, np.float32)
                 for key, value in made.tensors.items()}  # bits of a mask are no floats
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
    as_exact = config if is_softmax(core) else _with_core(config, "exact")
    results = [(name, finish) for name, (_, finish) in zip(lowering.names(), decided, strict=True)]
    for output, (logits, _), (layer, _) in zip(outputs, decided, results, strict=True):
        if output is not logits:
            LEFT_OUT.warning("%s: is left out; %s gives the logits that it is computed from",
                             output.name, layer)
    check(as_exact, tensors, original, example, results)
    if masked:
        as_exact = with_lengths(as_exact, tensors, masked, example, results)
    if is_softmax(core):
        return as_exact, tensors
    config = _with_core(as_exact, core)
    try:
        modelfile.check_config(config)
        float_model.run(config, tensors, example.reshape(shape))
    except ModelError as error:
        lacks = re.sub(r"\w+\(\) missing \d+ required \w+ arguments?:", "lacks the options",
                       str(error))
        raise ModelError(f"core {core}: {lacks}; import with the core exact, and give the layers "
                         "of the float file this core with its options and tensors") from None
    return config, tensors


def is_softmax(core: str) -> bool:
    """Whether a core is another way to compute what attention in floats is, up to a mask."""
    return cores.get(core).floating in (exact.floating, sparse.floating)


def _with_core(config: dict[str, Any], core: str) -> dict[str, Any]:
    return {**config, "layers": [{**entry, "core": core} if "core" in entry else entry
                                 for entry in config["layers"]]}
