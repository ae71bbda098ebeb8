# Layers made at the REPL of floats: weights become int8 on the board, and scales come from examples
# of the input. attn8 quantize does it better, with all calibration inputs and in float64.
import gc
from array import array

from . import checks, cores, find, quantize
from .layers.attention import head_dims
from .layers.dense import Dense, Linear

LEAST = 1e-12
PARTS = ("q", "k", "v", "out")


def attention(cls, seq_len, embed_dim, num_heads, floats, x, memory=None, core="exact",
              causal=False, key_dim=None, value_dim=None, key_len=None, memory_dim=None, **options):
    # As MultiHeadAttention.from_floats has it -> the layer, with `scales`: what one step stands for
    # in x, memory, q, k, v, heads and out. key_len and memory_dim are those of the memory.
    checks.between("seq_len", seq_len, 1, 1 << 15)
    checks.between("embed_dim", embed_dim, 1, 1 << 15)
    checks.between("num_heads", num_heads, 1, embed_dim)
    checks.kind("floats", floats, dict)
    checks.kind("causal", causal, bool)
    checks.kind("core", core, str)
    kind = cores.get(core)
    constants = getattr(find.module("cores", core), "constants", None)
    if constants is None:
        raise ValueError("core: %s is made by attn8 quantize alone" % core)
    for name in getattr(kind, "needs", ()):
        if name not in options:
            raise ValueError("%s: the core %s needs it; say %s=" % (name, core, name))
    key_dim, value_dim = head_dims("attn", embed_dim, num_heads, key_dim, value_dim)
    if memory is None:
        if not (key_len is memory_dim is None):
            raise ValueError("key_len, memory_dim: expected an example of the memory with them")
        memory_dim = embed_dim
    else:
        memory_dim = embed_dim if memory_dim is None else memory_dim
        key_len = seq_len if key_len is None else key_len
    keys, values = num_heads * key_dim, num_heads * value_dim
    matrices = {}
    known = []
    for part, inputs, outputs in (("q", embed_dim, keys), ("k", memory_dim, keys),
                                  ("v", memory_dim, values), ("out", values, embed_dim)):
        matrices[part] = Matrix(floats, part, inputs, outputs)
        known += [part + ".weight", part + ".bias"]
    shares = {}
    for key in floats:
        name = key[5:] if key.startswith("core.") else ""
        if name in kind.tensors:
            quantize.peak(key, floats[key], checks.between(
                key + ": values", len(floats[key]) // num_heads, 1, 1 << 30) * num_heads)
            shares[name] = floats[key]
        elif key not in known:
            raise ValueError("floats: unknown %s" % key)
    if kind.tensors:
        shares["heads"] = num_heads
    options.update(shares)

    scales = {}
    examples = _examples("x", x, seq_len * embed_dim, scales)
    memories = examples
    if memory is not None:
        memories = _examples("memory", memory, key_len * memory_dim, scales)
        checks.between("examples of the memory", len(memories), len(examples), len(examples))
    before = {"q": scales["x"], "k": scales.get("memory", scales["x"])}
    before["v"] = before["k"]
    for part in ("q", "k", "v"):
        scales[part] = matrices[part].after(before[part], examples if part == "q" else memories)

    def make():
        gc.collect()
        tensors = {}
        before["out"] = scales["heads"]
        for part in PARTS:
            made = matrices[part].tensors(before[part], scales[part])
            for key in made:
                tensors["attn.%s.%s" % (part, key)] = made[key]
        fixed = {}
        chosen = {}
        made = constants(key_dim, scales["q"], scales["k"], scales["v"], scales["heads"], **options)
        for key in made:
            if key in kind.tensors and checks.typecode(made[key]):
                tensors["attn.core." + key] = made[key]
            else:
                (fixed if key in kind.constants else chosen)[key] = made[key]
        return cls(seq_len, embed_dim, num_heads, tensors, fixed, core, causal, False, "attn",
                   key_len, key_dim=key_dim, value_dim=value_dim, memory_dim=memory_dim, **chosen)

    # First with heads as large as v may be, and what is out of them as it may be
    scales["heads"] = scales["v"]
    scales["out"] = matrices["out"].bound(scales["heads"])
    bounded = options.get("normalize", True)  # they are averages of v
    for _ in range(9 if kind.constants else 0):
        layer = make()
        most = 1
        for i, example in enumerate(examples):
            _run(layer, example, memory and memories[i])
            most = max(most, max(layer.heads), -min(layer.heads))
        finer = scales["heads"] * most / 127
        if bounded:  # as fine as attn8 quantize makes them
            finer = max(finer, scales["v"] / 8)
        elif most == 127:
            finer = 16 * scales["heads"]
        if most > 63 and finer <= scales["heads"]:
            scales["heads"] = finer
            break
        scales["heads"] = finer
        scales["out"] = matrices["out"].bound(finer)
        if bounded:
            break
    scales["out"] = matrices["out"].bound(scales["heads"])
    layer = make()
    merged = []
    for i, example in enumerate(examples):
        _run(layer, example, memory and memories[i])
        merged.append(array("b", layer._merged))
    scales["out"] = matrices["out"].after(scales["heads"], merged)
    layer = make()
    layer.scales = scales
    return layer


def _run(layer, x, memory):
    layer(x) if memory is None else layer(x, memory)


def _examples(name, x, size, scales):
    # Those in x as int8, whose scale is added
    most = quantize.peak(name, x)
    count = len(x) // size
    quantize.peak(name, x, max(count, 1) * size)
    scales[name] = max(most, LEAST) / 127
    whole = quantize.int8(x, scales[name])
    return [whole[i * size : (i + 1) * size] for i in range(count)]


class Matrix:
    # weight [outputs, inputs], row by row, and bias [outputs] if there is one

    def __init__(self, floats, name, inputs, outputs):
        if name + ".weight" not in floats:
            raise ValueError("floats: %s.weight is missing" % name)
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.weight = floats[name + ".weight"]
        self.bias = floats.get(name + ".bias")
        quantize.peak(name + ".weight", self.weight, inputs * outputs)
        if self.bias is None:
            self.bias = [0.0] * outputs
        quantize.peak(name + ".bias", self.bias, outputs)

    def _row(self, j):
        return self.weight[j * self.inputs : (j + 1) * self.inputs]

    def _scale(self, j, before, after=None):
        # Of an output's weights; a row of zeros is its bias, in steps that are fine enough
        most = max(max(self._row(j)), -min(self._row(j)))
        if after is None:
            return max(max(most, LEAST) / 127, abs(self.bias[j]) / before / (1 << 28))
        return max(most, LEAST) / 127 if most else after / before / 4096

    def tensors(self, before, after=None):
        # Of a Linear: from values of the scale `before` to int8 of `after`, or to int32 sums in
        # steps of `before` times the scale of each output's weights
        n = self.inputs
        weight = array("b", bytes(n * self.outputs))
        bias = array("i", bytes(4 * self.outputs))
        made = {"weight": weight, "bias": bias}
        if after is not None:
            made["mult"] = array("h", bytes(2 * self.outputs))
            made["shift"] = array("b", bytes(self.outputs))
        for j in range(self.outputs):
            scale = self._scale(j, before, after)
            for i, value in enumerate(quantize.int8(self._row(j), scale)):
                weight[j * n + i] = value
            bias[j] = int((self.bias[j] / (before * scale) + 0.5) // 1)
            if after is not None:
                made["mult"][j], made["shift"][j] = quantize.requant_constants(
                    before * scale / after)
        return made

    def bound(self, before):
        # The scale of results that no int8 inputs of the scale `before` can pass
        most = LEAST
        for j in range(self.outputs):
            total = 0.0
            for value in self._row(j):
                total += abs(value)
            most = max(most, 128 * before * total + abs(self.bias[j]))
        return max(most / 127, self._finest(before))

    def after(self, before, examples):
        # The scale of the results for these int8 inputs of the scale `before`
        made = self.tensors(before)
        layer = Dense(Linear(self.name, self.inputs, self.outputs, made["weight"], made["bias"]))
        steps = [before * self._scale(j, before) for j in range(self.outputs)]
        most = LEAST
        for x in examples:
            for start in range(0, len(x), self.inputs):
                sums = layer(x[start : start + self.inputs])
                for j, step in enumerate(steps):
                    most = max(most, abs(sums[j]) * step)
        return max(most / 127, self._finest(before))

    def _finest(self, before):
        # That its sums can be requantized to
        steps = [self._scale(j, before) for j in range(self.outputs)]
        return 2.0002 * before * max(steps)
