# From trained words back to int8, on the board. Scales are computed in the board's floats; the
# formulas are those of attn8_host.quantize. All of this is imported when training has ended, and
# what needs memory to train is gone.
import math
from array import array

from .. import forms, signals
from ..find import module as find
from ..unload import Unload
from .layers import UNCALLED


def narrowing(weight, inputs, outputs):
    # By how many bits int16 goes down before its products with int8 weights: see
    # attn8_host.numerics.scales.narrowing
    from ..kernels.magnitudes import magnitudes

    most = magnitudes(weight, 0, inputs, outputs, 0)
    down = 0
    while most * (32768 >> down) > 1 << 29:
        down += 1
    return down


def _whole(layer):
    # Gives the classes of a layer and its core all that they had before it was made (see
    # attn8.unload) -> those that lacked it
    lacked = []
    for x in layer, getattr(layer, "core", None):
        kind = type(x)
        if hasattr(kind, "requantize") and not getattr(kind, "requantize"):  # noqa: B009
            name = kind.__name__
            found = getattr(__import__(kind.__module__, None, None, [name]), name)
            for name in UNCALLED:
                if hasattr(found, name):
                    setattr(kind, name, getattr(found, name))
            lacked.append(kind)
    return lacked


FINEST = 2 * (1 + 1 / 32768)  # a result's scale over that of its sums, at least
# Why values are clipped, and what to do
SHARED = ("it has outgrown the int16 scale that it has together with layers that do not train, "
          "and is clipped; let more layers train")
LARGE = ("its weight has grown beyond what any scale of its int16 expresses, and is clipped; give "
         "a lower learning rate")
MOST_RATIO = 0.49999  # of scales, between that and what requant_constants has constants for


class Requantizer:
    # Replaces, in the int8 model file at `path`, the layers that a training model has trained.
    # layers: its own; f: its numbers; peaks: of its activations (see ranges.py). scale: of the
    # input as it was trained with, None where it is what the file says. read(parameter, first, n):
    # n of the words of one that has no value. clipped: after `write`, of the layers that had to
    # keep a scale which they have outgrown, why.

    def __init__(self, layers, f, peaks, path, scale=None, read=None):
        self.path = path
        self._scale = scale
        self._numbers = f.name
        self._frac = f.frac
        self._layers = {layer.name: layer for layer in layers}
        self._read = read
        self._unload = Unload()
        self._peaks = peaks
        self._peak = forms.choose("fixed_words").peak
        self._streams = {}  # by the scale that a stream has in the file: its new one
        self._tries = 0
        self._ends = False  # whether scales are as they were: no coarser ones are of use
        self.clipped = {}

    def write(self):
        # A power cut leaves the old file or the new one
        from .update import update

        update(self.path, self._change)

    def _change(self, config, tensors):
        # All layers of a stream have one scale, by which the file tells it. Where that is too fine
        # for one of them now, all are made again with a coarser one, as in attn8_host.quantize;
        # where none is coarse enough, weights are clipped
        self._found = tensors
        self._tensors = {}
        self._coarser = {}
        self._kept = []
        self.clipped.clear()
        self._convert(config)
        if not self._coarser:
            return self._tensors
        self._tensors = {}
        self._streams.update(self._coarser)
        self._tries += 1
        if self._tries > 2 * len(self._streams):
            self._streams = {}
            self._ends = True

    def _convert(self, config):
        old = {"input": config["input"].get("scale", 1)}  # 1 of token ids
        new = {"input": self._scale or old["input"]}
        last = "input"
        trains = False
        for fields in config["layers"]:
            sources = fields.get("inputs", (last,))
            last = fields["name"]
            layer = self._layers.get(last)
            self.took = [old[name] for name in sources]
            self.takes = [new[name] for name in sources]
            old[last] = fields.get("scale", self.took[0])
            if layer:
                trains = True
                lacked = _whole(layer)
                fields["scale"] = layer.requantize(self, fields, self.takes[0])
                for kind in lacked:  # one after another: all that they had takes many kilobytes
                    for name in UNCALLED:
                        if hasattr(kind, name):
                            setattr(kind, name, None)
                self._unload.forget("train")
            elif fields["type"] == "convert":
                self._between(fields, sources[0])
            elif trains:
                if last not in self._peaks and sources[0] in self._peaks:
                    self._peaks[last] = self._peaks[sources[0]]  # nobody measured it
                self._follow(fields)
            else:  # what runs before all that trains keeps its scale
                self._kept.append(old[last])
            new[last] = fields.get("scale", self.takes[0])

    def _follow(self, fields):
        # A layer that only hands on has no part in a training, nor has a softmax that the loss has
        if self.takes[0] == self.took[0]:
            return
        kind = find("train.layers", fields["type"])
        if hasattr(kind, "follow"):
            kind.follow(fields, self.takes[0])
        elif "scale" in fields:
            fields["scale"] = self.takes[0]

    def _between(self, fields, source):
        # Between int8 and int16: int8 of what has trained has the range that this has now; and from
        # int8 to fixed point
        if self.fixed(fields):
            if self.takes[0] != self.took[0]:
                self._decoded(fields)
            return
        before = self.takes[0] / 512
        after = fields["scale"]
        if fields["format"] == "int16":
            after = self._stream(fields, FINEST * before)
        elif source in self._peaks:
            after = max(self.scale(source), FINEST * before)
        if before * 512 != self.took[0] or after != fields["scale"]:
            fields["scale"] = after
            self.constants(fields, before)

    def _decoded(self, fields):
        from ..formats import FORMATS
        from ..quantize import scaled

        scale = self.takes[0]
        _, size, frac = FORMATS[fields["format"]]
        mult, shift = scaled(scale, 15)
        if scale * (128 << frac) > 1 << 8 * size - 1 or shift - frac > 22:
            raise ValueError("%s: its values reach %s now, which %s cannot hold; give other "
                             "--layers" % (fields["name"], 127 * scale, fields["format"]))
        fields["mult"], fields["shift"] = mult, shift

    def fixed(self, fields):
        # Whether a layer computes in fixed point, or makes numbers of it
        return fields.get("format", "int8")[0] == "Q"

    def constants(self, fields, before):
        # Writes what brings sums in steps of `before` to the scale that the layer has now
        from ..quantize import requant_constants

        ratio = before / fields["scale"]
        if ratio > MOST_RATIO:
            if not self._coarser:
                raise ValueError("%s: it has outgrown an int16 scale that has to stay; let more "
                                 "layers train, or give a lower learning rate" % fields["name"])
            ratio = MOST_RATIO  # all are made again
        fields["mult"], fields["shift"] = requant_constants(ratio)

    def result(self, fields, linear=None, before=0):
        # The scale of what a layer gives, no finer than sums in steps of `before` can be brought
        # to; of a matrix, those of its products with steps of `before`
        if fields.get("output") == "int16":
            finest, scale = self.finest(linear, before), fields["scale"]
            if finest > before == self._streams.get(scale, scale):
                # What it takes is of the same stream: a coarser scale of both is no help
                self.clipped[fields["name"]] = LARGE
                finest = 0
            return self.stream(fields, finest)
        return self.product(fields["name"], linear, before)

    def product(self, name, linear, before, most=127):
        # The same of a part that is int8, or whose largest value is to become `most`
        return max(self.scale(name, most), self.finest(linear, before))

    def finest(self, linear, before):
        if linear:
            peaks = self._row_peaks(linear, before)
            if _wide(linear):
                before *= 1 << self._rows(linear, peaks)
            before *= max(peaks) / (127 << self._frac)
        return FINEST * before

    def stream(self, fields, finest=0):
        # That of int16, which all that a stream ties together share
        scale = fields["scale"]
        peak = self._peaks[fields["name"]] / (1 << self._frac)
        if peak > self._streams.get(scale, scale) * 32767:
            finest = max(finest, peak / 16383)  # 14 bits, and as much room again
        return self._stream(fields, finest)

    def _stream(self, fields, finest):
        old = fields["scale"]
        scale = self._streams.get(old, old)
        if finest > scale:
            if self._ends or old in self._kept:
                self.clipped[fields["name"]] = LARGE if self._ends else SHARED
            else:
                self._coarser[old] = max(finest, self._coarser.get(old, 0))
        return scale

    def stream_tensor(self, fields, parameter):
        # Writes a parameter that is among a stream's values -> their scale
        scale = self.stream(fields)
        self.table(fields["name"], "h", parameter, scale)
        return scale

    def table(self, name, code, parameter, scale):
        # Writes a weight as int8 or int16 in steps of `scale`
        most = 32767 if code == "h" else 127
        step = scale * (1 << self._frac)
        words = self.words(parameter)
        values = array(code, bytes(parameter.size * signals.ITEMSIZES[code]))
        for i in range(parameter.size):
            values[i] = max(-most, min(most, math.floor(words[i] / step + 0.5)))
        self.put(name, "weight", values)

    def put(self, name, part, values):
        # A tensor of the file
        self._tensors["%s.%s" % (name, part)] = values

    def words(self, parameter, first=0, n=None):
        # Those of a parameter, or n of them from one on
        n = parameter.size if n is None else n
        if parameter.value is None:
            return self._read(parameter, first, n)
        return memoryview(parameter.value)[first : first + n]

    def floats(self, parameter):
        return [word / (1 << self._frac) for word in self.words(parameter)]

    def scale(self, name, most=127):
        # Of the values of a tensor that was measured, the largest of which becomes `most`
        return self._peaks[name] / (most << self._frac)

    def formatted(self, fields, parameters):
        # Writes parameters, by the parts that a file has them under, of a layer that computes in
        # fixed point. -> what one of its words stands for
        from ..formats import FORMATS

        code, size, frac = FORMATS[fields["format"]]
        most = (1 << 8 * size - 1) - 1
        down = self._frac - frac
        if down < 0:
            raise ValueError("%s.format: it trained in %s, which is coarser than %s"
                             % (fields["name"], self._numbers, fields["format"]))
        half = 1 << down >> 1
        for part, parameter in parameters.items():
            if parameter:
                values, words = array(code, bytes(parameter.size * size)), self.words(parameter)
                for i in range(parameter.size):
                    values[i] = max(-most, min(most, (words[i] + half) >> down))
                self.put(fields["name"], part, values)
        return 1 / (1 << frac)

    def norm(self, layer, fields, coarser, after):
        # Writes the weights of a norm whose results have the scale `after`, and into `fields` its
        # constants, of those of which the steps of what it takes were `coarser` times as large. See
        # attn8_host.layers.layer_norm.norm_constants
        weight = self.floats(layer.weight)
        bias = self.floats(layer.bias) if layer.bias else [0.0] * layer.features
        places = 1
        while layer.features - (1 if layer.bias else 0) >> (2 * places - 2):
            places += 1
        shift = 30
        while (max([abs(w) for w in weight]) / after * 2.0 ** (shift + places) > 2147483000
               or (max([abs(b) for b in bias]) / after + 0.5) * 2.0**shift > 1073741000):
            shift -= 1
        if shift < 0:
            raise ValueError("%s: weight and bias are too large for int8" % layer.name)
        fields["shift"] = shift
        eps = fields["eps_mult"] * coarser ** 2
        up = fields["eps_shift"]
        while eps < 16384 and up:
            eps *= 2
            up -= 1
        fields["eps_mult"], fields["eps_shift"] = min(32767, int(eps + 0.5)), up
        self.put(layer.name, "weight", array("i", [
            math.floor(w / after * 2.0 ** (shift + places) + 0.5) for w in weight]))
        self.put(layer.name, "bias", array("i", [
            math.floor((b / after + 0.5) * 2.0**shift + 0.5) for b in bias]))

    def pair(self, layer):
        # Brings the rows that `linear` has written into pairs, where the file has a matrix in these
        # (see forms/viper/matmul16.py)
        if self._found[layer.weight.name][2] < 3:
            return
        values, n = self._tensors[layer.weight.name], layer.inputs
        for at in range(0, len(values), 2 * n):
            rows = values[at : at + 2 * n]
            for i in range(n):
                values[at + 2 * i] = rows[i] ^ -128
                values[at + 2 * i + 1] = rows[n + i]

    def linear(self, layer, before, after):
        # Writes a matrix and its biases: int8 weights with a scale per output, or one for all where
        # the results stay int32, after None. -> the scale of those. A weight beyond what a result's
        # scale can express is clipped. One that takes int16 goes down by as many bits as its
        # weights ask for (see dense16)
        from ..quantize import requant_constants

        frac, outputs = self._frac, layer.outputs
        bias = layer.bias and self.words(layer.bias)
        name = layer.name + "."
        self._tensors[layer.weight.name] = int8 = array("b", bytes(outputs * layer.inputs))
        self._tensors[name + "bias"] = int32 = array("i", bytes(4 * outputs))
        if after is not None:
            self._tensors[name + "mult"] = mults = array("h", bytes(2 * outputs))
            self._tensors[name + "shift"] = shifts = array("b", bytes(outputs))
        peaks = self._row_peaks(layer, before)
        while True:
            largest = max(peaks)
            if after is None:
                for j in range(outputs):
                    peaks[j] = largest
            step = before * (1 << self._rows(layer, peaks, int8))
            if after is None or step * largest / (127 << frac) <= MOST_RATIO * after:
                break
            most = max(1, int(after / FINEST / step * (127 << frac)))
            for j in range(outputs):  # whose sums may be larger then
                peaks[j] = min(peaks[j], most)
        most = _most_bias(layer)
        for j in range(outputs):
            ratio = step * peaks[j] / (127 << frac)
            if bias:
                found = bias[j] / (1 << frac) / ratio
                int32[j] = math.floor(max(-most, min(most, found)) + 0.5)
            if after is not None:
                mults[j], shifts[j] = requant_constants(ratio / after)
        return step * largest / (127 << frac)

    def _row_peaks(self, layer, before):
        # -> the word of each row that becomes 127: the largest, or one by which its bias fits
        n = layer.inputs
        bias = layer.bias and self.words(layer.bias)
        peaks = array("i", bytes(4 * layer.outputs))
        most = before * _most_bias(layer)
        for j in range(layer.outputs):
            peaks[j] = max(1, self._peak(self.words(layer.weight, j * n, n), 0, n))
            if bias:
                peaks[j] = max(peaks[j], math.ceil(abs(bias[j]) * 127 / most))
        return peaks

    def _rows(self, layer, peaks, int8=None):
        # Writes a matrix -> by how many bits what it takes goes down: none but int16. Without int8
        # it finds that alone
        n = layer.inputs
        one = int8 or array("b", bytes(n))
        down = 0
        for j in range(layer.outputs):
            row, peak = self.words(layer.weight, j * n, n), peaks[j]
            at = j * n if int8 else 0
            for i in range(n):
                q = (row[i] * 254 + peak) // (2 * peak)
                one[at + i] = max(-127, min(127, q))
            if _wide(layer):
                down = max(down, narrowing(memoryview(one)[at : at + n], n, 1))
        return down


def _wide(layer):
    # Whether its int8 form takes int16
    return getattr(layer, "wide", False)


def _most_bias(layer):
    # What an int32 bias may be beside the sums of its products, in the board's floats too
    return 0x1FFFFF00 if _wide(layer) else 0x3FFFFF00 - (layer.inputs << 14)
