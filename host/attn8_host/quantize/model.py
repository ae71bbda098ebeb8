"""Quantises layers and whole models after training."""

import numpy as np

from ..errors import ModelError
from ..modelfile import core_parameters
from ..numerics import floating
from ..numerics.scales import quantize, requant_constants
from .cores import CONSTANTS, heads_scale


def linear(
    weight: np.ndarray, bias: np.ndarray, scale_in: float, scale_out: float | None
) -> dict[str, np.ndarray]:
    """Quantises out = x @ weight.T + bias, weight float [outputs, inputs].

    With `scale_out`, int8 results with one scale of the weights per output channel; without, int32
    sums that all stand for sum * scale_in * one scale of the weights.

    Returns:
        weight int8 [outputs, inputs], bias int32 [outputs], scale float32 [outputs] (of the
        weights), and with `scale_out` mult int16 [outputs] and shift int8 [outputs].
    """
    weight = np.asarray(weight, np.float64)
    largest = np.abs(weight).max(axis=1)
    if scale_out is None:
        largest = np.full_like(largest, largest.max())
    scale = np.maximum(largest, 1e-12) / 127
    tensors = {
        "weight": quantize(weight, scale[:, None]),
        "bias": np.floor(bias / (scale_in * scale) + 0.5).astype(np.int32),
        "scale": scale.astype(np.float32),
    }
    if scale_out is not None:
        constants = [requant_constants(r) for r in scale_in * scale / scale_out]
        tensors["mult"] = np.array([m for m, _ in constants], np.int16)
        tensors["shift"] = np.array([s for _, s in constants], np.int8)
    return tensors


def quantize_model(
    config: dict, tensors: dict[str, np.ndarray], calibration: np.ndarray
) -> tuple[dict, dict[str, np.ndarray]]:
    """Quantises a float model after training.

    Activation scales are the largest magnitudes that the float model shows on the calibration
    inputs, over 127; tensors that a mean or a softmax averages get their own.

    Args:
        config: of the float model; without an input scale the calibration inputs give one.
        tensors: float32, named as in torch.nn.Linear: `layer.weight` [outputs, inputs].
        calibration: float inputs [samples, ...].

    Returns:
        The config with scales and integer constants, and the integer tensors.

    Raises:
        ModelError: a tensor is missing or misshapen, or a layer's scales leave what its integers
            can express.
    """
    try:
        _check(config, tensors)
        with np.errstate(over="ignore", invalid="ignore"):  # the peaks are looked at
            return _quantize_model(config, tensors, calibration)
    except KeyError as error:
        raise ModelError(f"the float model lacks {error.args[0]}") from None
    except (TypeError, ValueError) as error:
        raise ModelError(f"the float model cannot be quantised: {error}") from None


def _check(config: dict, tensors: dict[str, np.ndarray]) -> None:
    """Raises ValueError unless the matrices and biases are floats of the shapes in the config."""
    for entry in config["layers"]:
        name, sizes = entry["name"], {}
        if entry["type"] == "dense":
            sizes = {name: (entry["out_features"], entry["in_features"])}
        elif entry["type"] == "attention":
            if entry["embed_dim"] % entry["num_heads"]:
                raise ValueError(
                    f"{name}.embed_dim: expected a multiple of num_heads {entry['num_heads']}, "
                    f"got {entry['embed_dim']}"
                )
            sizes = {f"{name}.{part}": 2 * (entry["embed_dim"],) for part in ("q", "k", "v", "out")}
        elif entry["type"] not in ("relu", "reshape", "mean_pool"):
            raise ValueError(f"{name}: there is no float layer of type {entry['type']}")
        for matrix, shape in sizes.items():
            for key, want in ((f"{matrix}.weight", shape), (f"{matrix}.bias", shape[:1])):
                got = tensors[key]
                if got.shape != want or got.dtype.kind != "f":
                    raise ValueError(
                        f"{key}: expected floats {list(want)}, got {got.dtype} {list(got.shape)}"
                    )


def _quantize_model(
    config: dict, tensors: dict[str, np.ndarray], calibration: np.ndarray
) -> tuple[dict, dict[str, np.ndarray]]:
    peaks: dict[str, float] = {}
    for x in calibration:
        for name, values in floating.run(config, tensors, x).items():
            peaks[name] = np.maximum(peaks.get(name, 0.0), np.abs(values).max()).item()
    for name, peak in peaks.items():
        if peak == 0:
            raise ValueError(f"{name} is 0 throughout the calibration inputs")
        if not peak < np.inf:
            raise ValueError(f"{name} becomes {peak:g} with the calibration inputs")
    scale = config["input"].get("scale") or float(np.abs(calibration).max()) / 127
    source = {**config["input"], "scale": scale}
    layers: list[dict] = []
    quantized: dict[str, np.ndarray] = {}

    def add(name: str, scale_in: float, scale_out: float | None) -> dict[str, np.ndarray]:
        made = linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"], scale_in, scale_out)
        scales = made.pop("scale")
        quantized.update({f"{name}.{part}": values for part, values in made.items()})
        return {"scale": scales}

    for entry in config["layers"]:
        name, entry = entry["name"], dict(entry)
        before = scale
        with floating.named(name):
            if entry["type"] == "dense" and entry.get("output") == "int32":
                scale = before * float(add(name, before, None)["scale"][0])
            elif entry["type"] == "dense":
                # A ReLU that follows cuts off what is negative: its peak is what needs the range
                following = config["layers"][len(layers) + 1 : len(layers) + 2]
                relu = following and following[0]["type"] == "relu"
                scale = peaks[following[0]["name"] if relu else name] / 127
                add(name, before, scale)
            elif entry["type"] == "attention":
                scales = {part: peaks[f"{name}.{part}"] / 127 for part in ("q", "k", "v")}
                scales["heads"] = heads_scale(peaks[f"{name}.heads"], scales["v"], entry["core"])
                for part in ("q", "k", "v"):
                    add(f"{name}.{part}", before, scales[part])
                scale = peaks[name] / 127
                add(f"{name}.out", scales["heads"], scale)
                entry["constants"] = CONSTANTS[entry["core"]](
                    entry["embed_dim"] // entry["num_heads"],
                    scales["q"], scales["k"], scales["v"], scales["heads"],
                    **entry.get("options", {}), **core_parameters(tensors, name),
                )
                for key in [k for k, v in entry["constants"].items() if isinstance(v, np.ndarray)]:
                    quantized[f"{name}.core.{key}"] = entry["constants"].pop(key)
                entry["scales"] = scales
            elif entry["type"] == "mean_pool":
                scale = peaks[name] / 127
                ratio = before / scale / entry["seq_len"]
                entry["mult"], entry["shift"] = requant_constants(ratio)
        if entry["type"] != "reshape":
            entry["scale"] = scale
        layers.append(entry)
    return {**config, "input": source, "layers": layers}, quantized
