"""From scales and float weights to the integers of the specification, in float64.

A quantised value x stands for x * scale. Formulas: the numerics section of the README. The device
modules of the same constants' names check their ranges; device/attn8/quantize.py has the same
functions in the board's floats, for experiments.
"""

import math

import numpy as np

from .reference import floating


def requant_constants(ratio: float) -> tuple[int, int]:
    """(M, s) with M / 2**s ~ ratio, 2**14 <= M < 2**15 and 16 <= s <= 45.

    Raises:
        ValueError: the ratio is not within 2**-31 to 0.5.
    """
    mult, shift = _scaled(ratio, 15)
    if not 16 <= shift <= 45:
        raise ValueError(f"ratio of scales: expected 2**-31 to 0.5, got {ratio}")
    return mult, shift


def _scaled(ratio: float, bits: int) -> tuple[int, int]:
    """(n, s) with n / 2**s ~ ratio and n of exactly `bits` bits."""
    mantissa, exponent = math.frexp(ratio)
    n, shift = math.floor(mantissa * 2**bits + 0.5), bits - exponent
    return (n >> 1, shift - 1) if n == 1 << bits else (n, shift)


def score_constants(scale: float, head_dim: int) -> tuple[int, int, int]:
    """(score_mult M, score_shift Sh, score_limit D) for scores that stand for score * scale.

    A difference of scores becomes t = (diff * M + 2**(Sh - 1)) >> Sh, in 1/256 octaves; beyond D
    its softmax numerator is 0. The largest M that keeps every product below 2**31.

    Raises:
        ValueError: one step of the score would be 4 octaves or more.
    """
    octaves = scale * math.log2(math.e)
    largest = 2 * 127 * 127 * head_dim
    if not 0 < octaves < 4:
        raise ValueError(f"score scale: expected 0 to 2.77, got {scale}")
    span = min(4096.0, 256 * octaves * largest + 2)
    shift = min(28, math.floor(31 - math.log2(span)))
    while True:
        mult = max(1, math.floor(octaves * 2.0 ** (8 + shift) + 0.5))
        half = 1 << (shift - 1)
        limit = min(((1 << (12 + shift)) - half - 1) // mult, largest)
        if limit * mult + half < 2**31 and mult < 2**30:
            return mult, shift, limit
        shift -= 1


def output_constants(ratio: float) -> tuple[int, int]:
    """(out_num NUM, out_shift u) with NUM / 2**u ~ ratio, 2**29 <= NUM < 2**30, 16 <= u <= 45.

    Raises:
        ValueError: the ratio is not within 2**-15 to 2**14.
    """
    num, shift = _scaled(ratio, 30)
    if not 16 <= shift <= 45:
        raise ValueError(f"ratio of scales: expected 2**-15 to 16384, got {ratio}")
    return num, shift


def heads_scale(peak: float, scale_v: float) -> float:
    """The scale of attention outputs whose largest magnitude is `peak`.

    Averaging shrinks them, so they get a finer scale than v, but at most 8 times as fine: below
    that the rounding of the weights would show.
    """
    return max(peak / 127, scale_v / 8)


def exact_constants(
    head_dim: int, scale_q: float, scale_k: float, scale_v: float, scale_out: float
) -> dict[str, int]:
    """The constants of the exact core, by the names of its keywords."""
    mult, shift, limit = score_constants(scale_q * scale_k / math.sqrt(head_dim), head_dim)
    num, out_shift = output_constants(scale_v / scale_out)
    return {
        "score_mult": mult,
        "score_shift": shift,
        "score_limit": limit,
        "out_num": num,
        "out_shift": out_shift,
    }


def quantize(x: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """x / scale, rounded half up and clamped to +-127, as int8."""
    return np.clip(np.floor(np.asarray(x, np.float64) / scale + 0.5), -127, 127).astype(np.int8)


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
        config: of the float model; its input has a scale.
        tensors: float32, named as in torch.nn.Linear: `layer.weight` [outputs, inputs].
        calibration: float inputs [samples, ...].

    Returns:
        The config with scales and integer constants, and the integer tensors.
    """
    peaks: dict[str, float] = {}
    for x in calibration:
        for name, values in floating.run(config, tensors, x).items():
            peaks[name] = max(peaks.get(name, 0.0), float(np.abs(values).max()))
    scale = config["input"]["scale"]
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
        if entry["type"] == "dense" and entry.get("output") == "int32":
            scale = before * float(add(name, before, None)["scale"][0])
        elif entry["type"] == "dense":
            # A ReLU that follows cuts off what is negative: its peak is what needs the range
            following = config["layers"][len(layers) + 1]
            peak = peaks[following["name"] if following["type"] == "relu" else name]
            scale = peak / 127
            add(name, before, scale)
        elif entry["type"] == "attention":
            scales = {part: peaks[f"{name}.{part}"] / 127 for part in ("q", "k", "v")}
            scales["heads"] = heads_scale(peaks[f"{name}.heads"], scales["v"])
            for part in ("q", "k", "v"):
                add(f"{name}.{part}", before, scales[part])
            scale = peaks[name] / 127
            add(f"{name}.out", scales["heads"], scale)
            entry["constants"] = exact_constants(
                entry["embed_dim"] // entry["num_heads"],
                scales["q"], scales["k"], scales["v"], scales["heads"],
            )
            entry["scales"] = scales
        elif entry["type"] == "mean_pool":
            scale = peaks[name] / 127
            entry["mult"], entry["shift"] = requant_constants(before / scale / entry["seq_len"])
        if entry["type"] != "reshape":
            entry["scale"] = scale
        layers.append(entry)
    return {**config, "layers": layers}, quantized
