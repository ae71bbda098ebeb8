"""Multi-head attention."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from .. import cores
from ..cores.base import Core, TrainableCore
from ..cores.exact import TrainableExact
from ..errors import ModelError
from ..numerics.scales import linear
from ..schema import FLAG, MAX_INPUTS, MOST, OBJECT, SIZE, WORD, Kind, Tensor, check, one_of
from . import dense
from .base import (
    INT8,
    INT16,
    Buffer,
    Fields,
    Layer,
    LayerType,
    Signal,
    Tensors,
    TrainableLayer,
    buffer,
)
from .dense import Dense, TrainableDense
from .quantizer import Quantizer

PARTS = ("q", "k", "v", "out")
# What a layer does in turn where layers share memory: what it computed is read between them
PROJECT, ATTEND, JOIN = range(3)
PLACES = 6  # at least, besides those of the last product
_FIXED = "{}: a memory or a key_padding_mask of the file goes with neither lengths nor steps"


class MultiHeadAttention:
    """[seq_len, embed_dim] -> [seq_len, embed_dim], with any core: int8, or int16 as it takes.

    Args:
        num_heads: divides what q, k and v give.
        linears: the layers q, k, v and out.
        constants: keywords of the core.
        core: its name.
        causal: whether a token attends only to itself and those before it.
        need_weights: whether `outputs` gets the intermediates of the cores.
        parameters: keywords of the core that differ between the heads, [num_heads, ...] each.
        options: more keywords of the core, such as a window.

    After a call `outputs` holds q and k as [num_heads, seq_len, key_dim], v and heads as
    [num_heads, seq_len, value_dim] and, with need_weights, the intermediates of each head's core,
    under the names that the board uses.

    Raises:
        ValueError: what q, k or v gives is no multiple of num_heads.
        TypeError: these are not the keywords of the core.
    """

    def __init__(
        self,
        num_heads: int,
        linears: Mapping[str, Callable[[np.ndarray], np.ndarray]],
        constants: dict[str, Any],
        core: str = "exact",
        causal: bool = False,
        need_weights: bool = True,
        parameters: dict[str, np.ndarray] | None = None,
        **options: Any,
    ):
        self.num_heads = num_heads
        self.linears = linears
        self.need_weights = need_weights
        self.cores = []
        for h in range(num_heads):
            share = {key: values[h] for key, values in (parameters or {}).items()}
            reference = cores.get(core).reference
            self.cores.append(reference(**constants, **options, **share, causal=causal))
        self.outputs: dict[str, np.ndarray] = {}

    def __call__(
        self,
        x: np.ndarray,
        memory: np.ndarray | None = None,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """x [seq_len, embed_dim], int8 or int16.

        Args:
            memory: [key_len, embed_dim], where keys and values come from, if not from x.
            key_padding_mask: [key_len], not 0 where a key is padding; or, as the core takes it,
                [seq_len, key_len] or [num_heads, seq_len, key_len], where a query does not see it.
        """
        sources = {"q": x} | dict.fromkeys("kv", x if memory is None else memory)
        q, k, v = (split(self.linears[part](source), self.num_heads)
                   for part, source in sources.items())
        heads = []
        for h, (core, *qkv) in enumerate(zip(self.cores, q, k, v, strict=True)):
            options = {}
            if key_padding_mask is not None:
                each = key_padding_mask[h] if key_padding_mask.ndim == 3 else key_padding_mask
                options["key_padding_mask"] = each
            heads.append(core(*qkv, **options))
        self.outputs = {"q": q, "k": k, "v": v}
        for h, core in enumerate(self.cores if self.need_weights else []):
            self.outputs.update({f"{part}.{h}": values for part, values in core.outputs.items()})
        self.outputs["heads"] = np.stack(heads)
        merged = self.outputs["heads"].transpose(1, 0, 2).reshape(len(x), -1)
        result: np.ndarray = self.linears["out"](merged)
        return result


    def step(self, x: np.ndarray, past: list[np.ndarray], seq_len: int) -> np.ndarray:
        """The next token, int8 [1, embed_dim].

        Args:
            x: the token.
            past: q, k and v [3, num_heads, head_dim] of each token so far; it gets one more.
            seq_len: tokens that a core without steps of its own has room for: as it is causal, what
                it gives for a token does not depend on those behind.
        """
        past.append(np.stack([self.linears[part](x).reshape(self.num_heads, -1) for part in "qkv"]))
        if hasattr(self.cores[0], "step"):
            heads = [core.step(*qkv) for core, qkv in
                     zip(self.cores, past[-1].swapaxes(0, 1), strict=True)]
        else:
            padded = np.zeros((seq_len, *past[0].shape), np.int8)
            padded[: len(past)] = past
            heads = [core(*qkv)[len(past) - 1] for core, qkv in
                     zip(self.cores, padded.transpose(2, 1, 0, 3), strict=True)]
        result: np.ndarray = self.linears["out"](np.concatenate(heads)[None])
        return result


def split(x: np.ndarray, num_heads: int) -> np.ndarray:
    """[tokens, num_heads * n] -> [num_heads, tokens, n].

    Raises:
        ValueError: x is no multiple of num_heads wide.
    """
    if x.shape[1] % num_heads:
        raise ValueError(f"embed_dim: expected a multiple of num_heads {num_heads}, got "
                         f"{x.shape[1]}")
    return x.reshape(len(x), num_heads, -1).transpose(1, 0, 2)


def tile_rows(rows: int, outputs: int) -> int:
    """Of a projection's results, as many as are made before they go to their heads."""
    n = min(rows, max(1, dense.SUMS // outputs))
    return n if n == rows or n < 3 else n - n % 3


def head_dims(entry: Fields) -> tuple[int, int]:
    """Values of a head's keys (and queries) and of its values: embed_dim / num_heads by default.

    Raises:
        ModelError: that is no whole number.
    """
    e, h = entry["embed_dim"], entry["num_heads"]
    if ("key_dim" not in entry or "value_dim" not in entry) and e % h:
        raise ModelError(f"{entry['name']}.embed_dim: expected a multiple of num_heads {h}, got "
                         f"{e}")
    return entry.get("key_dim", e // h), entry.get("value_dim", e // h)


def integers(
    entry: Fields, weights: Mapping[str, np.ndarray], sources: Mapping[str, np.ndarray],
    scale_in: float, parameters: Mapping[str, np.ndarray], **more: Any,
) -> tuple[dict[str, np.ndarray], dict[str, float], Callable[..., np.ndarray]]:
    """Float weights without biases as integers, for proofs; `entry` gets the constants.

    Args:
        entry: of an attention or a cross_attention.
        weights: [outputs, inputs] of q, k, v and out.
        sources: floats that q, k and v come from, which set the scales.
        scale_in: what one step of the layer's input stands for.
        parameters: float tensors of the core.
        more: keywords of the core's float form.

    Returns:
        The tensors by part; the scales of q, k, v and heads; the float form of the heads.
    """
    core, head_dim, options = cores.get(entry["core"]), head_dims(entry)[0], entry["options"]
    wide, most = core.format == INT16, core.most(head_dim)
    reals = {part: x @ weights[part].T for part, x in sources.items()}
    scales = {part: float(np.abs(real).max()) / most[part] for part, real in reals.items()}
    form = partial(core.floating, causal=entry["causal"], steps=[*scales.values()], **options,
                   **parameters, **more)
    heads = form(*(split(real, entry["num_heads"]) for real in reals.values()))
    scales["heads"] = core.output_scale(float(np.abs(heads).max()), scales["v"])
    tensors: dict[str, np.ndarray] = {}
    for part, weight in weights.items():
        given, gives = scale_in, scales.get(part)
        if part == "out":
            given, gives = scales["heads"], 2 * scales["heads"]
        made = linear(weight, np.zeros(len(weight)), given, gives, wide)
        made.pop("scale")
        tensors |= {f"{part}.{key}": values for key, values in made.items()}
    entry["constants"], own = core.quantize(head_dim, scales, options, parameters)
    return tensors | {f"core.{key}": values for key, values in own.items()}, scales, form


class TrainableMultiHeadAttention(TrainableLayer):
    """[seq_len, embed_dim], and a memory [key_len, memory_dim] if there is one, to the former.

    Args:
        f: the format of the numbers.
        q, k, v, out: the projections.
        core: makes the context of q, k and v. It sees no key behind `length`, where that is told.
    """

    def __init__(
        self, f: Any, q: TrainableDense, k: TrainableDense, v: TrainableDense,
        out: TrainableDense, core: TrainableCore,
    ):
        self.f = f
        self.q, self.k, self.v, self.out = q, k, v, out
        self.core = core

    def __call__(self, *x: np.ndarray) -> np.ndarray:
        self._memory = len(x) > 1
        self.core.length = self.length
        return self.out(self.core(self.q(x[0]), self.k(x[-1]), self.v(x[-1])))

    def backward(self, grad: np.ndarray) -> Any:
        found = []
        grads = self.core.backward(self.out.backward(grad))
        for layer, own in zip((self.q, self.k, self.v), grads, strict=True):
            layer.asked = self.asked
            found.append(layer.backward(own))
        dx, of_keys, of_values = found
        if not self.asked:
            return [dx, dx] if self._memory else dx
        if self._memory:
            return [dx, self.f.add(of_keys, of_values)]
        return self.f.add(self.f.add(dx, of_keys), of_values)

    def collect_params(self) -> list[Any]:
        return [p for part in (self.q, self.k, self.v, self.out, self.core)
                for p in part.collect_params()]


class Attention(LayerType):
    """[seq_len, embed_dim] -> [seq_len, embed_dim], as it infers."""

    tokenwise = True
    token_field = "seq_len"
    token_parts: ClassVar[Sequence[str]] = ("q", "k", "v", "heads")
    parts = 3
    fields = {"seq_len": SIZE, "embed_dim": SIZE, "num_heads": SIZE, "core": WORD, "causal": FLAG}
    optional = {"options": OBJECT, "lengths": FLAG, "output": one_of(INT8, INT16), "bias": FLAG,
                "key_dim": SIZE, "value_dim": SIZE}
    integers = {"constants": OBJECT}
    input_formats: ClassVar[Sequence[str]] = (INT8, INT16)
    output_formats = (INT8, INT16)
    training_fields: ClassVar[Mapping[str, Kind]] = {
        "seq_len": SIZE, "embed_dim": SIZE, "num_heads": SIZE}
    training_optional: ClassVar[Mapping[str, Kind]] = {
        "recompute": FLAG, "bias": FLAG, "causal": FLAG, "core": WORD, "lengths": FLAG,
        "key_dim": SIZE, "value_dim": SIZE, "options": OBJECT, "constants": OBJECT}
    by_bits = True
    retrains = (INT16,)

    def reads_padding(self, entry: Fields) -> bool:
        return not (entry.get("lengths") or entry["causal"])

    def check_training(self, entry: Fields) -> None:
        super().check_training(entry)
        name, core = entry["name"], self._training_core(entry)
        if core.trainable is None:
            raise ModelError(f"{name}.core: {entry['core']} does not train; see docs/numerics.md")
        key_dim, value_dim = head_dims(entry)
        if key_dim != value_dim and not core.value_widths:
            raise ModelError(f"{name}.value_dim: core {entry['core']} takes heads of one width; "
                             "exact takes two")
        check(f"{name}.options", entry.get("options", {}), {}, core.options)
        check(f"{name}.constants", entry.get("constants", {}), {}, core.training_constants)

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        bias = entry.get("bias", True)
        found = {key: values for part, (n, m) in self.sizes(entry).items() for key, values in
                 dense.initial(f"{part}.", n, m, rng, bias).items()}
        own = self._training_core(entry).defaults(
            entry["num_heads"], head_dims(entry)[0], entry.get("options", {}))
        return found | {f"core.{key}": values for key, values in own.items()}

    def trainable(
        self, f: Any, entry: Fields, tensors: Tensors, base: Any
    ) -> TrainableMultiHeadAttention:
        q, k, v, out = (dense.trainable(f, entry, f"{part}.", tensors) for part in PARTS)
        kind = self._training_core(entry).trainable
        assert kind
        core = kind(f, entry["name"], entry["num_heads"], head_dims(entry)[0],
                    entry.get("causal", False), entry.get("recompute", False),
                    **entry.get("options", {}), **entry.get("constants", {}),
                    **dense.parts("core.", tensors))
        return TrainableMultiHeadAttention(f, q, k, v, out, core)

    def _training_core(self, entry: Fields) -> Core:
        return self._core({"core": "exact", **entry})

    def require_integers(self, entry: Fields) -> None:
        super().require_integers(entry)
        for key in self._core(entry).drawn:
            if key in entry.get("options", {}):
                raise ModelError(f"{entry['name']}.options.{key}: integers have what it draws; "
                                 "take it out of the config")

    def check(self, entry: Fields) -> None:
        super().check(entry)
        name = entry["name"]
        core, (key_dim, value_dim) = self._core(entry), head_dims(entry)
        if key_dim != value_dim and not core.value_widths:
            raise ModelError(f"{name}.value_dim: core {entry['core']} takes heads of one width, "
                             f"{key_dim}, got {value_dim}; exact takes two")
        if core.format == INT16 and entry["num_heads"] * key_dim != entry["embed_dim"]:
            raise ModelError(f"{name}.key_dim: core {entry['core']} takes heads of embed_dim / "
                             f'num_heads, got {key_dim}; take exact, with "activation_bits": 8')
        if not 1 <= entry["seq_len"] <= core.max_seq_len:
            raise ModelError(
                f"{name}.seq_len: expected 1 to {core.max_seq_len}, got {entry['seq_len']}"
            )
        if entry.get("lengths") and not core.masks_keys:
            raise ModelError(f"{name}.lengths: expected a core that masks keys, got "
                             f"{entry['core']}")
        for part, (inputs, outputs) in self.sizes(entry).items():
            for what, found, most in (("inputs", inputs, MAX_INPUTS), ("outputs", outputs, MOST)):
                if found > most:
                    raise ModelError(f"{name}.{part}: expected at most {most} {what}, got {found}")
        if entry["num_heads"] > entry["embed_dim"]:
            raise ModelError(f"{name}.num_heads: expected 1 to {entry['embed_dim']}, "
                             f"got {entry['num_heads']}")
        check(f"{name}.options", entry.get("options", {}), {}, core.options)
        check(f"{name}.constants", entry.get("constants", {}), {}, core.constants)

    def _core(self, entry: Fields) -> Core:
        try:
            return cores.get(entry["core"])
        except ModelError as error:
            raise ModelError(f"{entry['name']}.core: {error}") from None

    def takes(self, entry: Fields, given: Signal) -> str:
        return self._core(entry).format

    def wants(self, entry: Fields, bits: int) -> str:
        core = self._core(entry)
        if core.format == INT16:
            return INT16
        wanted = super().wants(entry, bits)
        if wanted == INT16 and core.int16 is None:
            raise ModelError(f"{entry['name']}.activation_bits: the core {entry['core']} computes "
                             'in int8 only; take exact, or give it "activation_bits": 8')
        return wanted

    def converted(self, found: str, wanted: str) -> str:
        return wanted

    def sizes(self, entry: Fields) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of each projection."""
        e, h = entry["embed_dim"], entry["num_heads"]
        key_dim, value_dim = head_dims(entry)
        memory = self.memory_dim(entry)
        return {"q": (e, h * key_dim), "k": (memory, h * key_dim), "v": (memory, h * value_dim),
                "out": (h * value_dim, e)}

    def memory_dim(self, entry: Fields) -> int:
        """Values of a token that keys and values come from."""
        return int(entry["embed_dim"])

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        bias = entry.get("bias", True)
        found = {key: tensor for part, sizes in self.sizes(entry).items()
                 for key, tensor in dense.tensors(f"{part}.", *sizes, False, bias).items()}
        form = np.int16 if self._core(entry).format == INT16 else np.int8
        found["memory"] = Tensor(form, (None, entry["embed_dim"]), needed=False)
        found["key_padding_mask"] = Tensor(np.int8, (None,), needed=False)
        for key, tensor in self._core(entry).tensors(entry["num_heads"],
                                                     head_dims(entry)[0]).items():
            found[f"core.{key}"] = tensor
        return found

    def ranges(self, entry: Fields, given: Signal) -> dict[str, tuple[int, int]]:
        core = self._core(entry)
        found = dict(core.ranges)
        for part, (inputs, _) in self.sizes(entry).items():
            found |= dense.ranges(f"{part}.", inputs, core.format)
        return found

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        bias = entry.get("bias", True)
        found = {key: tensor for part, sizes in self.sizes(entry).items()
                 for key, tensor in dense.float_tensors(f"{part}.", *sizes, bias).items()}
        core, sizes = self._core(entry), (entry["num_heads"], head_dims(entry)[0])
        defaults = core.defaults(*sizes, entry.get("options", {}))
        for key, tensor in core.float_tensors(*sizes).items():
            found[f"core.{key}"] = replace(tensor, needed=tensor.needed and key not in defaults)
        return found

    def _complete(self, entry: Fields, tensors: Tensors) -> dict[str, np.ndarray]:
        """The core's float tensors out of those of the layer, with defaults."""
        try:
            return self._core(entry).complete(
                entry["num_heads"], head_dims(entry)[0], entry.get("options", {}),
                dense.parts("core.", tensors))
        except ModelError as error:
            raise ModelError(f"{entry['name']}.{error}") from None

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return entry["seq_len"], entry["embed_dim"]

    def buffers(self, entry: Fields, given: Sequence[Signal], gives: Signal) -> list[Buffer]:
        tokens, keys, e = entry["seq_len"], self.keys(entry, {}), entry["embed_dim"]
        key_dim, value_dim = (entry["num_heads"] * dim for dim in head_dims(entry))
        q, k, v, heads = (tokens * key_dim, keys * key_dim, keys * value_dim,
                          tokens * value_dim)
        form = self._core(entry).format
        product = dense.buffers(form, gives, value_dim, e)
        at = entry.get("at")
        if isinstance(at, list) and len(at) < PLACES + len(product):
            return self._all_at_once(form, gives, [q, k, v, heads], product, entry)

        def place(size: int, first: int, last: int | None) -> Buffer:
            return replace(buffer(form, size), first=first, last=last)

        alike = key_dim == value_dim  # then heads take the place of q
        found = [place(q, PROJECT, JOIN if alike else ATTEND), place(k, PROJECT, ATTEND),
                 place(v, PROJECT, ATTEND)]
        if not alike:
            found.append(place(heads, ATTEND, JOIN))
        tile = tile_rows(max(tokens, keys), max(key_dim, value_dim)) * max(key_dim, value_dim)
        # Where cores work: what x and the tile leave, or packed keys and values of a head and six
        # rows of scores
        room = max(buffer(form, tokens * e + tile).size, keys * (sum(head_dims(entry)) + 36) + 256)
        found += [place(tile, PROJECT, PROJECT), Buffer(room, False, ATTEND, ATTEND),
                  place(heads, JOIN, JOIN)]
        return [*found, *(replace(each, first=JOIN) for each in product)]

    def _all_at_once(
        self, form: str, gives: Signal, sizes: Sequence[int], product: list[Buffer], entry: Fields
    ) -> list[Buffer]:
        """As files before have it, where all is needed while the layer runs."""
        e = entry["embed_dim"]
        q, k, v, heads = sizes
        found = [buffer(form, q), buffer(form, k), buffer(form, v), buffer(form, heads, True)]
        # What projections give and the heads are merged to
        if k > q or not q == heads == entry["seq_len"] * e:
            found.append(buffer(form, max(sizes)))
        elif gives.format in (INT8, form):  # behind a row of the results
            ahead = -(-buffer(gives.format, e).size // 16) * 16
            return [*found, Buffer(ahead + buffer(form, heads).size)]
        return [*found, *product]

    def _layer(
        self, entry: Fields, tensors: Tensors, need_weights: bool
    ) -> MultiHeadAttention:
        linears = {part: Dense(**dense.parts(f"{part}.", tensors)) for part in PARTS}
        core = self._core(entry)
        for part, most in core.most(head_dims(entry)[0]).items():
            if part in linears:
                linears[part].format, linears[part].most = core.format, most
        linears["out"].format = entry.get("output", INT8)
        try:
            layer = MultiHeadAttention(
                entry["num_heads"], linears, entry["constants"], entry["core"], entry["causal"],
                need_weights, dense.parts("core.", tensors),
                **core.decisive(entry.get("options", {})),
            )
            for each in layer.cores:
                if hasattr(each, "check"):
                    each.check(entry["seq_len"], self.keys(entry, tensors), *head_dims(entry))
        except TypeError as error:
            if "argument" not in str(error):
                raise ModelError(f"{entry['name']}: {error}") from None
            known = ", ".join([*core.constants, *core.options, *core.tensors(1, 1)])
            raise ModelError(f"{entry['name']}: core {entry['core']} takes each of these once, and "
                             f"needs more of them: {known}") from None
        except ValueError as error:
            raise ModelError(f"{entry['name']}: {error}") from None
        return layer

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        memory, mask = tensors.get("memory"), tensors.get("key_padding_mask")
        keys = entry["seq_len"] if memory is None else len(memory)
        if (memory is not None or mask is not None) and not self._core(entry).masks_keys:
            raise ModelError(f"{entry['name']}.core: expected exact with a memory or a "
                             f"key_padding_mask of the file, got {entry['core']}")
        if mask is not None and mask.shape != (keys,):
            raise ModelError(f"{entry['name']}: expected [{keys}], got {list(mask.shape)}")
        layer = self._layer(entry, tensors, need_weights)
        if entry.get("lengths") and not (memory is None and mask is None):
            raise ModelError(_FIXED.format(entry["name"]))

        def run(x: np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
            padding = mask if length is None else np.arange(len(x)) >= length
            out = layer(x, memory, padding)
            return {**layer.outputs, "": out}

        return run

    def stepping(self, entry: Fields, tensors: Tensors) -> Layer:
        name, core, seq_len = entry["name"], self._core(entry), entry["seq_len"]
        if "memory" in tensors or "key_padding_mask" in tensors:
            raise ModelError(_FIXED.format(name))
        if not entry["causal"]:
            raise ModelError(f"{name}.causal: steps need true, got false")
        if not core.steps or entry.get("options", {}).get("precise"):
            raise ModelError(f"{name}.core: {entry['core']} takes no steps; see docs/mechanisms.md")
        key_dim, value_dim = head_dims(entry)
        if key_dim != value_dim:
            raise ModelError(f"{name}.value_dim: steps need heads of one width, {key_dim}, "
                             f"got {value_dim}")
        layer, past = self._layer(entry, tensors, False), list[np.ndarray]()

        def step(x: np.ndarray) -> dict[str, np.ndarray]:
            if len(past) == seq_len and not hasattr(layer.cores[0], "step"):
                raise ValueError(f"{name}: it takes {seq_len} tokens and has them; reset")
            return {"": layer.step(x, past, seq_len)}

        return step

    def float_stepping(self, entry: Fields, tensors: Tensors) -> Layer:
        past: list[np.ndarray] = []

        def step(x: np.ndarray) -> dict[str, np.ndarray]:
            past.append(x.reshape(1, -1))
            return {"": self.floating(entry, tensors, np.concatenate(past))[""][-1:]}

        return step

    def floating(
        self, entry: Fields, tensors: Tensors, *x: np.ndarray, length: int | None = None
    ) -> dict[str, np.ndarray]:
        padding = {} if length is None else {"hidden": np.arange(len(x[-1])) >= length}
        outputs = {part: split(dense.apply(f"{part}.", tensors, source), entry["num_heads"])
                   for part, source in (("q", x[0]), ("k", x[-1]), ("v", x[-1]))}
        q, k, v = outputs.values()
        steps = [max(float(np.abs(x).max()), 1e-30) / 127 for x in (q, k, v)]
        heads = self._core(entry).floating(
            q, k, v, causal=entry["causal"], steps=steps,
            **self._core(entry).decisive(entry.get("options", {})),
            **self._complete(entry, tensors), **padding,
        )
        merged = heads.transpose(1, 0, 2).reshape(len(x[0]), -1)
        return {**outputs, "heads": heads, "": dense.apply("out.", tensors, merged)}

    def fold(
        self, entry: Fields, tensors: Tensors, scales: np.ndarray, offsets: np.ndarray
    ) -> dict[str, np.ndarray] | None:
        folded: dict[str, np.ndarray] | None = dict(tensors)
        for part in ("q", "k", "v"):
            folded = folded and dense.fold(f"{part}.", folded, scales, offsets)
        return folded

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        name, core, before = entry["name"], self._core(entry), quantizer.inputs or [quantizer.scale]
        if quantizer.wide and core.int16:
            entry["core"] = core.int16
            core = self._core(entry)
            self.check(entry)
        wide = core.format == INT16
        most, peaks = core.most(head_dims(entry)[0]), quantizer.whole if wide else quantizer.peaks
        scales = {part: peaks[f"{name}.{part}"] / most[part] for part in most}
        sources = {"q": before[0], "k": before[-1], "v": before[-1]}
        for part, source in sources.items():
            scales[part] = max(scales[part], quantizer.finest(f"{name}.{part}", source, wide))
        scales["heads"] = core.output_scale(peaks[f"{name}.heads"], scales["v"])
        for part, source in sources.items():
            quantizer.linear(f"{name}.{part}", source, scales[part], wide)
        finest = quantizer.finest(f"{name}.out", scales["heads"], wide)
        quantizer.linear(f"{name}.out", scales["heads"], quantizer.result(name, finest), wide)
        dense.settle_bias(entry, quantizer, *(f"{part}." for part in PARTS))
        parameters = {key: quantizer.tensors[f"{name}.core.{key}"]
                      for key in core.float_tensors(1, 1)
                      if f"{name}.core.{key}" in quantizer.tensors}
        parameters = self._complete(entry, {f"core.{key}": x for key, x in parameters.items()})
        if "options" in entry:
            entry["options"] = {key: value for key, value in entry["options"].items()
                                if key not in core.drawn}
        constants, made = core.quantize(
            head_dims(entry)[0], scales, entry.get("options", {}), parameters
        )
        quantizer.made.update({f"{name}.core.{key}": values for key, values in made.items()})
        entry["constants"], entry["scales"] = constants, scales

    def work(self, entry: Fields, tensors: Tensors) -> int:
        s, keys = entry["seq_len"], self.keys(entry, tensors)
        key_dim, value_dim = head_dims(entry)
        heads = entry["num_heads"] * self._core(entry).work(
            s, keys, key_dim, entry["causal"], entry.get("options", {}),
            {key: values[0] for key, values in dense.parts("core.", tensors).items()},
        )
        rows = {"q": s, "k": keys, "v": keys, "out": s}
        products = sum(rows[part] * n * m for part, (n, m) in self.sizes(entry).items())
        # A core counts both its products alike
        result: int = int(products) + heads * (key_dim + value_dim) // (2 * key_dim)
        return result

    def keys(self, entry: Fields, tensors: Tensors) -> int:
        """Tokens that keys and values come from."""
        return len(tensors.get("memory", range(entry["seq_len"])))

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        name = entry["name"]
        keys = ("type", "name", "inputs", *self.training_fields, *self.training_optional)
        found: Fields = {key: entry[key] for key in keys if key in entry and key != "constants"}
        if entry.get("rotary"):
            raise ModelError(f"{name}.rotary: attention trains without it")
        for part in ("memory", "key_padding_mask"):
            if part in tensors:
                raise ModelError(f"{name}.{part}: attention trains without one of the file")
        core = self._core(entry)
        constants, parameters = core.retrained(
            entry.get("options", {}), entry["scales"], dense.parts("core.", tensors))
        if constants:
            found["constants"] = constants
        self.check_training(found)
        after = {**entry["scales"], "out": entry["scale"]}
        takes = {"q": before[0], "k": before[-1], "v": before[-1], "out": after["heads"]}
        floats = {key: values for part in PARTS for key, values in
                  dense.in_floats(f"{part}.", tensors, takes[part], after[part],
                                  core.format == INT16).items()}
        return found, floats | {f"core.{key}": values for key, values in parameters.items()}


class Type(Attention):
    """The same with what it takes by a formula."""

    def training_words(self, entry: Fields) -> int | None:
        """Of exact and flash, with E = embed_dim, S = seq_len: parameters and gradients
        2*(4*E^2 + 4*E), without biases 8*E^2; what the four projections and the heads give 5*S*E;
        the gradient of x S*E, those of q, k and v being where the context, k and v were; attention
        weights H*S^2 and scores S^2 (S and S with recompute, and 2*S*E for gradients of k and v);
        scratch for the largest product.
        """
        if self._training_core(entry).trainable is not TrainableExact:
            return None
        e, s, h = entry["embed_dim"], entry["seq_len"], entry["num_heads"]
        recompute, d = entry.get("recompute", False), e // h
        rows = 1 if recompute else s
        # rows, columns, inner
        products = [(s, e, e), (e, e, s), (rows, s, d), (rows, d, s), (s, d, rows)]
        scratch = max(((r + 1) // 2 + (min(c, 8) + 1) // 2) * (i + i % 2 + 2)
                      for r, c, i in products)
        weights = s if recompute else h * s * s
        biases = e if entry.get("bias", True) else 0
        return int(8 * (e * e + biases) + (8 if recompute else 6) * s * e + weights + rows * s
                   + scratch)


TYPE = Type()
