"""Input files: one .npy array, [samples, *input shape of the model]."""

from pathlib import Path
from typing import Any

import numpy as np

from .errors import ModelError


def read(path: Path, config: dict[str, Any]) -> np.ndarray:
    """The numbers of an input file for a model with this config, in the file's own type.

    Raises:
        ModelError: it cannot be read, does not fit the model, or holds NaN, infinite values or some
            beyond float32.
    """
    try:
        inputs = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (OSError, ValueError):
        raise ModelError(f"{path}: not a .npy file of numbers") from None
    if not isinstance(inputs, np.ndarray):
        raise ModelError(f"{path}: expected one array (.npy), got an archive of several (.npz)")
    shape = config["input"]["shape"]
    fits = inputs.ndim == len(shape) + 1 and list(inputs.shape[1:]) == shape and len(inputs) > 0
    if not fits or inputs.dtype.kind not in "iuf":
        wanted = ", ".join(["samples", *map(str, shape)])
        raise ModelError(
            f"{path}: expected numbers [{wanted}], got {inputs.dtype} {list(inputs.shape)}"
        )
    if not (np.abs(inputs) <= np.finfo(np.float32).max).all():
        raise ModelError(f"{path}: it holds NaN, infinite values or some beyond float32")
    return inputs
