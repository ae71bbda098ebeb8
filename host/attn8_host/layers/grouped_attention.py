"""Causal attention of int16 with a cache, several queries to each key and value head.

Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models", 2023; rotary positions
as Su et al., "RoFormer", 2021, over adjacent values.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import cores
from ..cores.exact import MAX_KEYS, masked_scores
from ..cores.exact16 import FRACTION, OCTAVES, exact16_constants, exp2, normalized, output_scale
from ..errors import ModelError
from ..numerics.integers import int32, rounded, saturated
from ..numerics.rotary import phases, sine, turned
from ..schema import FLAG, INPUTS, LIST, OBJECT, SCALE, SIZE, Tensor, check, one_of
from . import dense
from .attention import PARTS, split
from .base import (
    INPUT_SCALE,
    INT8,
    INT16,
    Buffer,
    Example,
    Fields,
    Layer,
    LayerType,
    Signal,
    Tensors,
    TrainableLayer,
    buffer,
)
from .convert import requantizing
from .dense import Dense, TrainableDense
from .quantizer import Quantizer, Stream

PREFIXES = [f"{part}." for part in PARTS]


def most(head_dim: int, cache: str) -> dict[str, int]:
    """The largest magnitudes of q, k and v.

    Those of q and k keep scores below 2**29, where k has come back out of a cache in int8 as well;
    v stays within 127 * 255 there.
    """
    largest = min(math.isqrt(((1 << 29) - 1) // head_dim), 32767)
    if cache == INT16:
        return {"q": largest, "k": largest, "v": 32767}
    return {"q": largest - 127, "k": largest - 127, "v": 127 * 255}


def cache_size(entry: Fields) -> int:
    """Bytes that a layer keeps of past tokens; 0 of one of another type.

    Of int8 each row of keys and values has a step besides; of int16 values are in whole fours.
    """
    if entry["type"] not in ("grouped_attention", "normed_attention"):
        return 0
    tokens, values = entry["seq_len"], kv_heads(entry) * head_dim(entry)
    if entry.get("cache", INT8) == INT16:
        return int(2 * (tokens + (tokens + 3) // 4 * 4) * values)
    return int(2 * tokens * (values + kv_heads(entry)))


def rotary(x: np.ndarray, turns: np.ndarray, first: int, largest: int) -> np.ndarray:
    """Rotates each pair of adjacent values by the position times what `turns` says.

    Args:
        x: int16 [heads, tokens, head_dim].
        turns: int32 [head_dim / 2], in 2**-32 turns.
        first: the position of the first token.
        largest: magnitude of results.
    """
    phase = phases(turns, first, x.shape[1])
    found = turned(x.astype(np.int64), sine(phase + (1 << 30)), sine(phase))
    return saturated(int32(found) + (1 << 13) >> 14, INT16, largest)


def stored(x: np.ndarray, cache: str) -> np.ndarray:
    """What comes back out of the cache, int64: of int8, n times a byte that each row has.

    Args:
        x: int16 [..., head_dim], within +-127 * 255 where the cache is int8.
    """
    x = x.astype(np.int64)
    if cache == INT16:
        return x
    step = np.maximum((np.abs(x).max(axis=-1, keepdims=True) + 126) // 127, 1)
    result: np.ndarray = ((x + 127 * step + (step >> 1)) // step - 127) * step
    return result


class GroupedAttention:
    """[tokens, embed_dim] -> [tokens, embed_dim], int16; the next tokens of a sequence.

    Args:
        num_heads, num_kv_heads: of queries, and of keys and values.
        linears: the layers q, k, v and out.
        constants: score_mult, score_shift, out_num, out_shift.
        turns: int32 [head_dim / 2] of rotary positions, in 2**-32 turns; None: there are none.
        cache: the format of keys and values.
        centre: int16 [num_kv_heads * head_dim], which goes off each key in a cache of int8: a
            number for all keys alike is none to a softmax, and what is left has finer steps.
    """

    def __init__(
        self, num_heads: int, num_kv_heads: int, linears: Mapping[str, Dense],
        constants: Mapping[str, int], turns: np.ndarray | None, cache: str,
        centre: np.ndarray | None = None,
    ):
        self.centre = None if centre is None else split(centre[None].astype(np.int64), num_kv_heads)
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.linears, self.turns, self.cache = linears, turns, cache
        self.constants = constants
        self.weights: list[np.ndarray] = []  # of each head, [tokens, keys] of the last call
        self.reset()

    def reset(self) -> None:
        """The next token is the first of a new sequence."""
        self.past: list[np.ndarray] | None = None

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return 0 if self.past is None else self.past[0].shape[1]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        first = self.length
        found: dict[str, np.ndarray] = {}
        for part, heads in (("q", self.num_heads), ("k", self.num_kv_heads),
                            ("v", self.num_kv_heads)):
            found[part] = split(self.linears[part](x), heads)
            if part != "v" and self.turns is not None:
                largest = self.linears[part].most or 32767
                found[part] = rotary(found[part], self.turns, first, largest)
        if self.centre is not None:
            found["k"] = saturated(found["k"] - self.centre, INT16, self.linears["k"].most)
        kept = [stored(found[part], self.cache) for part in "kv"]
        if self.past is not None:
            kept = [np.concatenate(both, axis=1) for both in zip(self.past, kept, strict=True)]
        self.past = kept
        share = self.num_heads // self.num_kv_heads
        self.weights = []
        results = [self._attend(q, kept[0][h // share], kept[1][h // share])
                   for h, q in enumerate(found["q"])]
        return self.linears["out"](np.concatenate(results, axis=1))

    def _attend(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        c = self.constants
        masked = np.triu(np.ones((len(q), len(k)), bool), 1 + len(k) - len(q))
        _, scores = masked_scores(q, k, False, None)
        scores = np.where(masked, -(1 << 30), scores)
        difference = np.where(masked, 0, scores.max(axis=1, keepdims=True) - scores)
        t = rounded(difference, c["score_mult"], c["score_shift"])
        weights = normalized(np.where(masked | (t >= OCTAVES << FRACTION), 0, exp2(t)))
        self.weights.append(weights)
        sums = int32(weights.sum(axis=1))
        mult = int32(c["out_num"] + (sums >> 1)) // sums
        return saturated(rounded(int32(weights @ v), mult[:, None], c["out_shift"]), INT16)


class TrainableGroupedAttention(TrainableLayer):
    """[tokens, embed_dim] -> [tokens, embed_dim], causal.

    Per head as cores.exact.TrainableExact, but dk and dv are the sums of dS.T @ q and A.T @ c over
    the heads of queries that share them. q and k have turned, and their gradients turn back.

    Args:
        f: the format of the numbers.
        num_heads, num_kv_heads: of queries, and of keys and values.
        linears: q, k, v and out.
        turns: int64 [head_dim / 2], in 2**-32 turns a position; None: nothing turns.
    """

    def __init__(
        self, f: Any, num_heads: int, num_kv_heads: int, linears: Mapping[str, TrainableDense],
        turns: np.ndarray | None,
    ):
        self.f = f
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.linears, self.turns = linears, turns

    def _turned(self, x: np.ndarray, heads: int, back: bool = False) -> np.ndarray:
        if self.turns is None:
            return x
        found: np.ndarray = self.f.rotate(x.reshape(len(x), heads, -1), self.turns, back)
        return found.reshape(x.shape)

    def __call__(self, *x: np.ndarray, **_: Any) -> np.ndarray:
        f, tokens = self.f, len(x[0].reshape(-1, self.linears["q"].weight.value.shape[1]))
        q = np.split(self._turned(self.linears["q"](x[0]), self.num_heads), self.num_heads, 1)
        k = np.split(self._turned(self.linears["k"](x[0]), self.num_kv_heads), self.num_kv_heads, 1)
        v = np.split(self.linears["v"](x[0]), self.num_kv_heads, 1)
        share = self.num_heads // self.num_kv_heads
        self._operands = [(q[h], k[h // share], v[h // share]) for h in range(self.num_heads)]
        self._scale = f.softmax_scale(1, q[0].shape[1])
        hidden = np.triu(np.ones((tokens, tokens), bool), 1)
        self._weights = [f.softmax(f.hide(f.product(q, k), hidden), self._scale)[0]
                         for q, k, _ in self._operands]
        context = [f.product(weights, v.T) for weights, (_, _, v) in
                   zip(self._weights, self._operands, strict=True)]
        return self.linears["out"](np.concatenate(context, axis=1))

    def backward(self, grad: np.ndarray) -> np.ndarray:
        f, share = self.f, self.num_heads // self.num_kv_heads
        own = np.split(self.linears["out"].backward(grad), self.num_heads, 1)
        dq, (_, k, v) = [], self._operands[0]
        dk, dv = ([np.zeros_like(x) for _ in range(self.num_kv_heads)] for x in (k, v))
        for h, (q, k, v) in enumerate(self._operands):
            weights = self._weights[h]
            d = f.softmax_backward(weights, f.product(own[h], v), self._scale)
            dv[h // share] = f.product(weights.T, own[h].T, dv[h // share])
            dk[h // share] = f.product(d.T, q.T, dk[h // share])
            dq.append(f.product(d, k.T))
        grads = {"q": self._turned(np.concatenate(dq, axis=1), self.num_heads, True),
                 "k": self._turned(np.concatenate(dk, axis=1), self.num_kv_heads, True),
                 "v": np.concatenate(dv, axis=1)}
        found = []
        for part, each in grads.items():
            self.linears[part].asked = self.asked
            found.append(self.linears[part].backward(each))
        if not self.asked:
            return found[0]
        result: np.ndarray = f.add(f.add(found[0], found[1]), found[2])
        return result

    def collect_params(self) -> list[Any]:
        return [p for part in PARTS for p in self.linears[part].collect_params()]


def kv_heads(entry: Fields) -> int:
    """Heads of keys and values: as many as of queries by default."""
    found: int = entry["num_kv_heads" if "num_kv_heads" in entry else "num_heads"]
    return found


def head_dim(entry: Fields) -> int:
    """Values of a head."""
    return int(entry["embed_dim"] // entry["num_heads"])


def frequencies(entry: Fields) -> np.ndarray:
    """Radians a position, of each pair of values: rotary_base ** (-2 i / head_dim)."""
    d = head_dim(entry)
    result: np.ndarray = float(entry["rotary_base"]) ** (-np.arange(0, d, 2) / d)
    return result


class Type(LayerType):
    """[seq_len, embed_dim] -> [seq_len, embed_dim]."""

    tokenwise = True
    token_field = "seq_len"
    bounded = ("k",)
    fields = {"seq_len": SIZE, "embed_dim": INPUTS, "num_heads": SIZE}
    optional = {"num_kv_heads": SIZE, "rotary_base": SCALE, "cache": one_of(INT8, INT16),
                "bias": FLAG, "output": one_of(INT8, INT16)}
    training_fields = {"seq_len": SIZE, "embed_dim": SIZE, "num_heads": SIZE}
    training_optional = {"num_kv_heads": SIZE, "bias": FLAG, "turns": LIST}
    pairs = PREFIXES
    integers = {"constants": OBJECT}
    input_formats = (INT16,)
    output_formats = (INT8, INT16)

    def require_integers(self, entry: Fields) -> None:
        super().require_integers(entry)
        kinds = cores.get("exact16").constants
        check(f"{entry['name']}.constants", entry["constants"], kinds)

    def ranges(self, entry: Fields, given: Signal) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for part, (inputs, _) in self.sizes(entry).items():
            found |= dense.ranges(f"{part}.", inputs, INT16)
        return found

    def check(self, entry: Fields) -> None:
        super().check(entry)
        self._check_sizes(entry)

    def check_training(self, entry: Fields) -> None:
        super().check_training(entry)
        self._check_sizes(entry)
        turns, pairs = entry.get("turns"), head_dim(entry) // 2
        if turns is not None and (len(turns) * 2 != head_dim(entry)
                                  or {type(n) for n in turns} != {int}):
            raise ModelError(f"{entry['name']}.turns: expected {pairs} whole numbers, one for two "
                             f"values of a head, got {turns}")

    def _check_sizes(self, entry: Fields) -> None:
        name, e, h, kv = entry["name"], entry["embed_dim"], entry["num_heads"], kv_heads(entry)
        if e % h:
            raise ModelError(f"{name}.embed_dim: expected a multiple of num_heads {h}, got {e}")
        if h % kv:
            raise ModelError(f"{name}.num_kv_heads: expected a divisor of num_heads {h}, got {kv}")
        if "rotary_base" in entry and (e // h) % 2:
            raise ModelError(f"{name}.rotary_base: expected heads of an even width, got {e // h}")
        if entry["seq_len"] > MAX_KEYS:
            raise ModelError(f"{name}.seq_len: expected 1 to {MAX_KEYS}, got {entry['seq_len']}")

    def sizes(self, entry: Fields) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of each projection."""
        e, kv = entry["embed_dim"], kv_heads(entry) * head_dim(entry)
        return {"q": (e, e), "k": (e, kv), "v": (e, kv), "out": (e, e)}

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        found = {key: tensor for part, sizes in self.sizes(entry).items()
                 for key, tensor in dense.tensors(
                     f"{part}.", *sizes, False, entry.get("bias", True)).items()}
        if "rotary_base" in entry:
            found["turns"] = Tensor(np.int32, (head_dim(entry) // 2,))
        if entry.get("cache", INT8) == INT8:
            found["centre"] = Tensor(np.int16, (kv_heads(entry) * head_dim(entry),))
        return found

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        return {key: tensor for part, sizes in self.sizes(entry).items() for key, tensor in
                dense.float_tensors(f"{part}.", *sizes, entry.get("bias", True)).items()}

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return entry["seq_len"], entry["embed_dim"]

    def buffers(self, entry: Fields, given: Any, gives: Signal) -> list[Buffer]:
        kv = kv_heads(entry) * head_dim(entry)
        return [buffer(INT16, size) for size in (entry["embed_dim"], kv, kv)] + [
            buffer(gives.format, gives.size)]

    def layer(self, entry: Fields, tensors: Tensors) -> GroupedAttention:
        """The layer of an entry, without tokens."""
        linears = {part: Dense(**dense.parts(f"{part}.", tensors)) for part in PARTS}
        cache = entry.get("cache", INT8)
        for part, largest in most(head_dim(entry), cache).items():
            linears[part].format, linears[part].most = INT16, largest
        linears["out"].format = entry.get("output", INT8)
        return GroupedAttention(entry["num_heads"], kv_heads(entry), linears, entry["constants"],
                                tensors.get("turns"), cache, tensors.get("centre"))

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = self.layer(entry, tensors)

        def run(x: np.ndarray) -> dict[str, np.ndarray]:
            layer.reset()
            return {"": layer(x)}

        return run

    def stepping(self, entry: Fields, tensors: Tensors) -> Layer:
        layer = self.layer(entry, tensors)

        def step(x: np.ndarray) -> dict[str, np.ndarray]:
            tokens = x.reshape(-1, entry["embed_dim"])
            if layer.length + len(tokens) > entry["seq_len"]:
                raise ValueError(f"{entry['name']}: its cache has room for {entry['seq_len']} "
                                 f"tokens and holds {layer.length}; reset")
            return {"": layer(tokens)}

        return step

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        return self._float(entry, tensors, x[0], [])

    def float_stepping(self, entry: Fields, tensors: Tensors) -> Layer:
        past: list[np.ndarray] = []
        return lambda x: self._float(entry, tensors, x.reshape(-1, entry["embed_dim"]), past)

    def projected(self, entry: Fields, tensors: Tensors, x: np.ndarray) -> dict[str, np.ndarray]:
        """Queries, keys and values [heads, tokens, head_dim] before they turn, in floats."""
        kv = kv_heads(entry)
        return {part: split(dense.apply(f"{part}.", tensors, x), heads)
                for part, heads in (("q", entry["num_heads"]), ("k", kv), ("v", kv))}

    def product(
        self, entry: Fields, quantizer: Quantizer, part: str, scales: dict[str, float]
    ) -> None:
        """Quantizes the product that gives q, k or v in steps of scales[part], which becomes more
        where its weights cannot express that."""
        name = f"{entry['name']}.{part}"
        scales[part] = max(scales[part], quantizer.finest(name, quantizer.scale, True))
        quantizer.linear(name, quantizer.scale, scales[part], True)

    def _float(
        self, entry: Fields, tensors: Tensors, x: np.ndarray, past: list[np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Of tokens behind those of whose keys and values `past` has, which get theirs."""
        kv, first = kv_heads(entry), past[0].shape[1] if past else 0
        found = self.projected(entry, tensors, x)
        if "rotary_base" in entry:
            turn = np.exp(1j * np.arange(first, first + len(x))[:, None] * frequencies(entry))
            for part in "qk":
                pairs = (found[part][..., ::2] + 1j * found[part][..., 1::2]) * turn
                found[part] = np.stack([pairs.real, pairs.imag], -1).reshape(found[part].shape)
        q, k, v = (found[part].astype(np.float64) for part in "qkv")
        if past:
            k, v = (np.concatenate(both, axis=1) for both in zip(past, (k, v), strict=True))
        past[:] = k, v
        share = entry["num_heads"] // kv
        scores = q @ np.repeat(k, share, 0).swapaxes(1, 2) / math.sqrt(head_dim(entry))
        scores[:, np.triu(np.ones(scores.shape[1:], bool), 1 + first)] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        heads = weights / weights.sum(axis=-1, keepdims=True) @ np.repeat(v, share, 0)
        merged = heads.transpose(1, 0, 2).reshape(len(x), -1)
        found["k"] = found["k"].transpose(1, 0, 2).reshape(len(x), -1)  # a channel each
        return {**found, "heads": heads, "": dense.apply("out.", tensors, merged)}

    def fold(
        self, entry: Fields, tensors: Tensors, scales: np.ndarray, offsets: np.ndarray
    ) -> dict[str, np.ndarray] | None:
        folded: dict[str, np.ndarray] | None = dict(tensors)
        for part in "qkv":
            folded = folded and dense.fold(f"{part}.", folded, scales, offsets)
        return folded

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        name, peaks = entry["name"], quantizer.whole
        largest = most(head_dim(entry), entry.get("cache", INT8))
        # A pair turns to at most sqrt(2) times its larger value; v gets as much room again
        scales = {part: peaks[f"{name}.{part}"] * room / largest[part]
                  for part, room in (("q", math.sqrt(2)), ("k", math.sqrt(2)), ("v", 2.0))}
        for part in "qkv":
            self.product(entry, quantizer, part, scales)
        scales["heads"] = output_scale(peaks[f"{name}.heads"], scales["v"])
        finest = quantizer.finest(f"{name}.out", scales["heads"], True)
        quantizer.linear(f"{name}.out", scales["heads"], quantizer.result(name, finest), True)
        dense.settle_bias(entry, quantizer, *PREFIXES)
        dense.settle_pairs(entry, quantizer, *PREFIXES)
        if "rotary_base" in entry:
            turns = np.floor(frequencies(entry) / (2 * math.pi) * 2**32 + 0.5)
            quantizer.made[f"{name}.turns"] = turns.astype(np.int64).astype(np.int32)
        if entry.get("cache", INT8) == INT8:
            low, high = quantizer.bounds[f"{name}.k"]
            centre = np.floor((low + high) / 2 / scales["k"] + 0.5)
            quantizer.made[f"{name}.centre"] = centre.astype(np.int16)
        entry["constants"] = exact16_constants(head_dim(entry), scales["q"], scales["k"],
                                               scales["v"], scales["heads"])
        entry["scales"] = scales

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """With both caches, grouped and not, with rotary positions and without."""
        for cache, heads, kv, base in ((INT8, 4, 2, 100.0), (INT16, 4, 1, 100.0),
                                       (INT8, 2, 2, None)):
            entry: Fields = {"type": self.name, "name": "attn", "seq_len": 11, "embed_dim": 16,
                             "num_heads": heads, "num_kv_heads": kv, "cache": cache}
            yield self._example(rng, entry | ({"rotary_base": base} if base else {}))

    def peaks(self, floats: Tensors) -> dict[str, float]:
        """As large as values of an example can become: inputs are within 127 * INPUT_SCALE."""
        found = {part: float(np.abs(floats[f"{part}.weight"]).sum(axis=1).max()) for part in PARTS}
        return found | {part: 127 * INPUT_SCALE * found[part] + 1 for part in "qkv"}

    def _example(self, rng: np.random.Generator, entry: Fields) -> Example:
        tokens, e, before = entry["seq_len"], entry["embed_dim"], INPUT_SCALE / 128
        kv = kv_heads(entry) * head_dim(entry)
        floats = {key: rng.normal(0, e**-0.5, [n or 1 for n in tensor.shape])
                  for key, tensor in self.float_tensors(entry).items()}
        peaks = self.peaks(floats)
        scale = peaks["out"] * peaks["v"] / 16383
        peaks = {f"attn.{part}": peak for part, peak in (peaks | {"heads": peaks["v"]}).items()}
        named = {f"attn.{key}": values for key, values in floats.items()}
        quantizer = Quantizer(named, peaks, peaks, lambda name: scale * 127, before,
                              streams={"attn": Stream(scale)},
                              bounds={"attn.k": (-peaks["attn.k"] * rng.random(kv), np.zeros(kv))})
        made: Fields = {**entry, "output": INT16}
        self.quantize(made, quantizer)
        scales = {**made["scales"], "out": quantizer.scale}
        real = dict(floats)
        for part in PARTS:  # what the integers stand for
            matrix = {key: quantizer.made[f"attn.{part}.{key}"].astype(np.float64)
                      for key in ("weight", "bias", "mult", "shift")}
            unit = matrix["mult"] / 2 ** matrix["shift"] * scales.get(f"{part}_projected",
                                                                      scales[part])
            real[f"{part}.weight"] = matrix["weight"] * unit[:, None] / (
                scales["heads"] if part == "out" else before)
            real[f"{part}.bias"] = matrix["bias"] * unit

        def wanted(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            x = outputs["wide"].reshape(tokens, e) * before
            want = self.floating(entry, real, x)[""].ravel() / scales["out"]
            return outputs["attn"].ravel() / 129, np.clip(want, -32767, 32767) / 129

        sizes = {key: entry[key] for key in ("seq_len", "embed_dim", "num_heads", "num_kv_heads")}
        return Example(f"cache of {entry['cache']}", sizes,
                       [requantizing("wide", INPUT_SCALE / before), made], quantizer.made,
                       tokens * e, wanted)

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {key: values for part, sizes in self.sizes(entry).items() for key, values in
                dense.initial(f"{part}.", *sizes, rng, entry.get("bias", True)).items()}

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        keys = ("type", "name", *self.training_fields, "num_kv_heads", "bias")
        found: Fields = {key: entry[key] for key in keys if key in entry}
        if "turns" in tensors:
            found["turns"] = tensors["turns"].tolist()
        scales = {**entry["scales"], "out": entry["scale"]}
        takes = {**dict.fromkeys("qkv", before[0]), "out": scales["heads"]}
        return found, {key: values for part in PARTS for key, values in dense.in_floats(
            f"{part}.", tensors, takes[part], scales.get(f"{part}_projected", scales[part]),
            True).items()}

    def trainable(
        self, f: Any, entry: Fields, tensors: Tensors, base: Any
    ) -> TrainableGroupedAttention:
        linears = self.training_linears(f, entry, tensors)
        turns = np.array(entry["turns"]) if "turns" in entry else None
        return TrainableGroupedAttention(f, entry["num_heads"], kv_heads(entry), linears, turns)

    def training_linears(
        self, f: Any, entry: Fields, tensors: Tensors
    ) -> dict[str, TrainableDense]:
        """q, k, v and out, as they train."""
        return {part: dense.trainable(f, entry, f"{part}.", tensors) for part in PARTS}

    def work(self, entry: Fields, tensors: Tensors) -> int:
        s = entry["seq_len"]
        products = s * sum(n * m for n, m in self.sizes(entry).values())
        return int(products + s * (s + 1) * entry["embed_dim"])


TYPE = Type()
