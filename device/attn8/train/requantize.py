# From trained words back to int8, on the board. Scales are computed in the board's floats; the
# formulas are those of attn8_host.quantize.
import json
import math
from array import array

from .. import quantize
from ..kernels import fixed as kernels
from .layers.attention import MultiHeadAttention
from .layers.dense import Dense
from .update import update


class Requantizer:
    # Replaces, in the int8 model file at `path`, the layers that a training model has trained.
    # Every `measure` after a forward pass widens the ranges of the activations.

    def __init__(self, model, path):
        self.path = path
        self._frac = model.f.frac
        self._layers = {layer.name: layer for layer in model.layers if layer.collect_params()}
        self._tensors = []
        for layer in model.layers:
            out = layer.out
            if isinstance(layer, MultiHeadAttention):
                for part in ("q", "k", "v"):
                    self._tensors.append((layer.name + "." + part, getattr(layer, part).out))
                self._tensors.append((layer.name + ".heads", layer.context))
                out = out.out
            self._tensors.append((layer.name, out))
        self.peaks = {name: 1 for name, _ in self._tensors}

    def measure(self):
        for name, x in self._tensors:
            self.peaks[name] = max(self.peaks[name], kernels.peak(x, 0, len(x)))

    def write(self):
        # A power cut leaves the old file or the new one
        update(self.path, self._quantise)

    def _quantise(self, metadata):
        tensors = {}
        config = json.loads(metadata["config"])
        scale = config["input"]["scale"]
        for entry in config["layers"]:
            name = entry["name"]
            layer = self._layers.get(name)
            before = scale
            if isinstance(layer, MultiHeadAttention):
                scale = self._attention(layer, entry, tensors, before)
            elif isinstance(layer, Dense) and entry.get("output") == "int32":
                scale = self._dense(layer, tensors, before, None)
            elif isinstance(layer, Dense):
                scale = self._scale(name)
                self._dense(layer, tensors, before, scale)
            elif entry["type"] == "mean_pool":
                scale = self._scale(name)
                constants = quantize.requant_constants(before / scale / entry["seq_len"])
                entry["mult"], entry["shift"] = constants
            else:
                scale = entry.get("scale", scale)
                continue
            entry["scale"] = scale
        metadata["config"] = json.dumps(config)
        return tensors

    def _scale(self, name):
        return self.peaks[name] / (127 << self._frac)

    def _attention(self, layer, entry, tensors, before):
        name = layer.name
        scales = {part: self._scale(name + "." + part) for part in ("q", "k", "v", "heads")}
        # As in attn8_host.quantize: at most 8 times as fine as v
        scales["heads"] = max(scales["heads"], scales["v"] / 8)
        for part in ("q", "k", "v"):
            self._dense(getattr(layer, part), tensors, before, scales[part])
        scale = self._scale(name)
        self._dense(layer.out, tensors, scales["heads"], scale)
        d = layer.head_dim
        constants = entry["constants"]
        (constants["score_mult"], constants["score_shift"], constants["score_limit"]) = (
            quantize.score_constants(scales["q"] * scales["k"] / d**0.5, d)
        )
        constants["out_num"], constants["out_shift"] = quantize.output_constants(
            scales["v"] / scales["heads"]
        )
        entry["scales"] = scales
        return scale

    def _dense(self, layer, tensors, before, after):
        # int8 weights with a scale per output, or one for all where the results stay int32
        n = layer.inputs
        frac = self._frac
        weight, bias = layer.weight.value, layer.bias.value
        name = layer.name + "."
        tensors[name + "weight"] = int8 = array("b", bytes(layer.outputs * n))
        tensors[name + "bias"] = int32 = array("i", bytes(4 * layer.outputs))
        if after is not None:
            tensors[name + "mult"] = mults = array("h", bytes(2 * layer.outputs))
            tensors[name + "shift"] = shifts = array("b", bytes(layer.outputs))
        largest = max(1, kernels.peak(weight, 0, len(weight)))
        view = memoryview(weight)
        for j in range(layer.outputs):
            row = view[j * n : (j + 1) * n]
            peak = largest if after is None else max(1, kernels.peak(row, 0, n))
            for i in range(n):
                q = (row[i] * 254 + peak) // (2 * peak)
                int8[j * n + i] = max(-127, min(127, q))
            ratio = before * peak / (127 << frac)
            int32[j] = math.floor(bias[j] / (1 << frac) / ratio + 0.5)
            if after is not None:
                mults[j], shifts[j] = quantize.requant_constants(ratio / after)
        return before * largest / (127 << frac)
