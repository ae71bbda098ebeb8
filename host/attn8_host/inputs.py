"""Input files: one .npy array, [samples, *input shape of the model]; their lengths and labels.

Each may be an array of a .npz as well, under its name: inputs, lengths, labels.
"""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from .errors import ModelError
from .layers.base import TOKENS
from .model import Model
from .paths import require_file


def read(path: Path, config: dict[str, Any]) -> np.ndarray:
    """The numbers of an input file for a model with this config, in the file's own type.

    Raises:
        ModelError: it cannot be read, does not fit the model, or holds NaN, infinite values, some
            beyond float32, or token ids that the model has no row for.
    """
    inputs = _load(path, "inputs")
    shape = config["input"]["shape"]
    fits = inputs.ndim == len(shape) + 1 and list(inputs.shape[1:]) == shape and len(inputs) > 0
    if not fits or inputs.dtype.kind not in "iuf":
        wanted = ", ".join(["samples", *map(str, shape)])
        raise ModelError(
            f"{path}: expected numbers [{wanted}], got {inputs.dtype} {list(inputs.shape)}"
        )
    finite = np.abs(inputs.reshape(len(inputs), -1)) <= np.finfo(np.float32).max
    if len(wrong := np.flatnonzero(~finite.all(axis=1))):
        raise ModelError(f"{path}: it holds NaN, infinite values or some beyond float32, first in "
                         f"sample {wrong[0]}; leave such samples out")
    for entry in config["layers"]:
        if entry["type"] == "embedding":
            _require_ids(path, inputs, entry)
    return inputs


def _require_ids(path: Path, ids: np.ndarray, entry: dict[str, Any]) -> None:
    wrong = np.argwhere(~((ids >= 0) & (ids < entry["vocab_size"]) & (ids % 1 == 0)))
    if len(wrong):
        sample, token = wrong[0]
        raise ModelError(f"{path}: {entry['name']}: expected token ids from 0 to "
                         f"{entry['vocab_size'] - 1}, got {ids[sample, token]} in sample {sample}")


def read_lengths(path: Path | None, config: dict[str, Any], samples: int) -> list[int | None]:
    """How many tokens of each sample count; None for all of them.

    Args:
        path: of a file of whole numbers [samples], if there is one.
        config: of the model.
        samples: how many.

    Raises:
        ModelError: it cannot be read or does not fit, or the model takes no lengths.
    """
    if path is None:
        return [None] * samples
    lengths = _load(path, "lengths")
    if not config["input"].get("lengths"):
        raise ModelError(f'{path}: the model takes no lengths; its config says no "lengths"')
    tokens = config["input"]["shape"][0]
    if lengths.shape != (samples,) or lengths.dtype.kind not in "iu":
        raise ModelError(f"{path}: expected whole numbers [{samples}], got {lengths.dtype} "
                         f"{list(lengths.shape)}")
    for n in lengths:
        if not 1 <= n <= tokens:
            raise ModelError(f"{path}: expected lengths of 1 to {tokens}, got {n}")
    return [int(n) for n in lengths]


def read_labels(path: Path, samples: int, classes: int) -> np.ndarray:
    """int64 [samples], the class of each input.

    Raises:
        ModelError: the file cannot be read, or holds anything but so many whole numbers from 0 to
            classes - 1.
    """
    labels = _load(path, "labels")
    if labels.dtype.kind not in "iu" or labels.shape != (samples,):
        raise ModelError(f"{path}: expected labels of whole numbers [{samples}], one an input, got "
                         f"{labels.dtype} {list(labels.shape)}")
    if classes < 2:
        raise ModelError(f"{path}: the model gives one value: it has no classes to be right about")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise ModelError(f"{path}: expected labels from 0 to {classes - 1}, as many classes as the "
                         f"model gives values, got {labels[wrong[0]]} of sample {wrong[0]}")
    return labels.astype(np.int64)


def arrays(path: Path) -> list[str]:
    """The names of the arrays of a .npz that `read` has read; none of a .npy."""
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return []
    with found:
        return list(found)


def read_names(path: Path) -> list[str] | None:
    """The names of the classes, of an array `names` of a .npz; None where there is none.

    Raises:
        ModelError: they are no texts.
    """
    if "names" not in arrays(path):
        return None
    names = _load(path, "names")
    if names.dtype.kind != "U" or names.ndim != 1:
        raise ModelError(f"{path}: names: expected texts, got {names.dtype} {list(names.shape)}")
    return [str(name) for name in names]


def read_token_labels(path: Path, samples: int, tokens: int, classes: int) -> np.ndarray:
    """int64 [samples, tokens], the class of each token; -1 of those that have none.

    Raises:
        ModelError: the file cannot be read, or holds anything but so many whole numbers up to
            classes - 1.
    """
    labels = _load(path, "labels")
    if labels.dtype.kind not in "iu" or labels.shape != (samples, tokens):
        raise ModelError(f"{path}: expected labels of whole numbers [{samples}, {tokens}], one a "
                         f"token, got {labels.dtype} {list(labels.shape)}")
    labels = np.maximum(labels.astype(np.int64), -1)
    if labels.max() >= classes:
        raise ModelError(f"{path}: expected labels up to {classes - 1}, as many classes as the "
                         f"model gives values for a token, got {labels.max()}")
    return labels


def integers(samples: np.ndarray, model: Model) -> np.ndarray:
    """Samples as a model takes them: int8 as they are, ids as int16, other numbers as it is fed.

    Raises:
        ModelError: the model does not say how, or an id is no whole number of 16 bits.
    """
    if model.config["input"].get("format") == TOKENS:
        if not ((samples >= 0) & (samples < 1 << 15) & (samples % 1 == 0)).all():
            raise ModelError("inputs: expected token ids, whole numbers from 0 to 32767")
        return samples.astype(np.int16)
    return samples if samples.dtype == np.int8 else model.feed(samples)


def _load(path: Path, name: str) -> np.ndarray:
    require_file(path)
    try:
        found = np.load(path, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            with found:
                if name not in found:
                    raise ModelError(f"{path}: expected an array {name} in it, got "
                                     f"{', '.join(found) or 'none'}")
                found = found[name]
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, BadZipFile):
        raise ModelError(f"{path}: not a .npy or .npz file of numbers") from None
    assert isinstance(found, np.ndarray)
    return found
