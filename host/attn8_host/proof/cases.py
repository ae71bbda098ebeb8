"""What `attn8 verify` runs: for every mechanism cases, each a model file of one layer with inputs.

A core says in its module which variants prove it, a layer type which examples.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from .. import cores, layers
from ..cores.base import Variant
from ..layers.attention import integers
from ..layers.base import INPUT_SCALE, INT16, TOKENS, LayerType
from ..layers.convert import requantizing
from ..model import load
from ..numerics.scales import quantize
from ..paths import MODELS

# (seq_len, embed_dim, num_heads), odd sizes among them
SHAPES = [(1, 8, 1), (5, 9, 3), (16, 32, 4), (33, 24, 8), (64, 64, 2), (12, 128, 8), (512, 8, 1)]
VARIANT_SHAPES = SHAPES[1:4]  # of all variants but the first
COST_LENGTHS = (16, 32, 64, 128, 256)  # seq_len at which the cost is measured
COST_WIDTH = 16  # embed_dim there, one head
WIDER = 128  # steps in int16 of one of the input, where a core takes that
SEED = 8
MAX_WEIGHTS = 33  # seq_len up to which the intermediates, which grow with its square, are compared


@dataclass
class Case:
    """One model of one layer, what to send it, and how far it may be from floats.

    Attributes:
        shape: sizes by name, as reported.
        inputs: int8 [samples, input size].
        floats: from the outputs of one inference, its "input" and "length" among them, to (int8
            values, the float form of the same mechanism on the same int8 operands), in steps of
            int8.
        need_weights: compare the intermediates as well.
        lengths: how many tokens of each input count, where the model takes lengths.
        most_lsb: the largest error that there may be; None: any.
        most_mean_error: the largest mean error over the range of the float form; None: any.
    """

    mechanism: str
    variant: str
    shape: dict[str, int]
    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    inputs: np.ndarray
    floats: Callable[[Mapping[str, np.ndarray]], tuple[np.ndarray, np.ndarray]]
    need_weights: bool = True
    lengths: list[int | None] | None = None
    most_lsb: float | None = None
    most_mean_error: float | None = None


def attention_cases(core: str, rng: np.random.Generator) -> Iterator[Case]:
    """The grid of a core: every shape for its first variant, some for the others."""
    for i, (name, variant) in enumerate(cores.get(core).variants.items()):
        for shape in VARIANT_SHAPES if i else SHAPES:
            yield attention_case(core, name, variant, shape, rng)


def cost_cases(core: str, rng: np.random.Generator) -> Iterator[Case]:
    """The first variant of a core at growing seq_len."""
    name, variant = next(iter(cores.get(core).variants.items()))
    for seq_len in COST_LENGTHS:
        yield attention_case(core, name, variant, (seq_len, COST_WIDTH, 1), rng)


def attention_case(
    core: str, name: str, variant: Variant, shape: tuple[int, int, int], rng: np.random.Generator
) -> Case:
    """Multi-head attention with random weights; q and k are such that scores are about normal."""
    seq_len, embed_dim, num_heads = shape
    kind = cores.get(core)
    options = variant.options | kind.sized(seq_len)
    parameters = kind.parameters(rng, num_heads, embed_dim // num_heads, options)

    def tokens(n: int) -> np.ndarray:
        return quantize(rng.normal(size=(n, embed_dim)), INPUT_SCALE)

    weights = {part: rng.normal(size=(embed_dim, embed_dim)) for part in ("q", "k", "v", "out")}
    x = tokens(seq_len)
    memory = None if variant.key_len is None else tokens(variant.key_len)
    mask = None
    if variant.padded:
        mask = (np.arange(variant.key_len or seq_len) % 3 == 1).astype(np.int8)
    weights = {part: w / np.sqrt(embed_dim) for part, w in weights.items()}
    memory_or_x = x if memory is None else memory
    entry = {
        "type": "attention", "name": "attn", "seq_len": seq_len, "embed_dim": embed_dim,
        "num_heads": num_heads, "core": core, "causal": variant.causal, "options": options,
        **({"lengths": True} if variant.lengths else {}),
    }  # fmt: skip
    wide = kind.format == INT16
    made, scales, form = integers(
        entry, weights, {"q": x * INPUT_SCALE} | dict.fromkeys("kv", memory_or_x * INPUT_SCALE),
        INPUT_SCALE / (WIDER if wide else 1), parameters,
        **({} if mask is None else {"hidden": mask != 0}),
    )
    tensors = {f"attn.{key}": values for key, values in made.items()}
    if memory is not None:
        tensors["attn.memory"] = memory.astype(np.int16) * WIDER if wide else memory
    if mask is not None:
        tensors["attn.key_padding_mask"] = mask

    def floats(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        q, k, v = (outputs[f"attn.{part}"] * scales[part] for part in ("q", "k", "v"))
        padding = {"hidden": np.arange(seq_len) >= outputs["length"]} if variant.lengths else {}
        want = form(q, k, v, **padding) / scales["heads"]
        if wide:  # in steps of int8
            return outputs["attn.heads"] / 129, np.clip(want, -32767, 32767) / 129
        return outputs["attn.heads"], np.clip(want, -127, 127)

    return Case(
        mechanism=core,
        variant=name,
        shape={"seq_len": seq_len, "embed_dim": embed_dim, "num_heads": num_heads},
        config=model([requantizing("wide", WIDER), entry] if wide else [entry],
                     [seq_len, embed_dim], variant.lengths),
        tensors=tensors,
        inputs=np.stack([x, *extremes(rng, x.shape), recorded(x.shape)]).reshape(-1, x.size),
        floats=floats,
        need_weights=seq_len <= MAX_WEIGHTS,
        lengths=lengths(seq_len) if variant.lengths else None,
        most_lsb=kind.most_lsb,
    )


def model(
    entries: list[dict[str, Any]], shape: list[int], lengths: bool = False, ids: bool = False
) -> dict[str, Any]:
    """The config of a model of a few layers, whose input has lengths, or is token ids."""
    entries = [{"type": "reshape", "name": "tokens", "shape": shape}, *entries]
    taken: dict[str, Any] = {"shape": shape if lengths else [int(np.prod(shape))]}
    taken |= {"format": TOKENS} if ids else {"scale": INPUT_SCALE}
    taken |= {"lengths": True} if lengths else {}
    return {
        "format": "attn8", "version": 1, "name": entries[-1]["name"], "layers": entries,
        "input": taken,
    }  # fmt: skip


def lengths(tokens: int) -> list[int | None]:
    """Of the four inputs of a case: all, one, about half, all but one."""
    return [tokens, 1, (tokens + 1) // 2, max(1, tokens - 1)]


def extremes(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The largest values that there are: all of one sign, and both signs mixed."""
    return [np.full(shape, 127, np.int8), rng.choice(np.array([-127, 127], np.int8), shape)]


def recorded(shape: tuple[int, ...]) -> np.ndarray:
    """Tokens as the digits model shows them to its attention, for as many digits as it takes."""
    model = load(MODELS / "digits.safetensors")
    images = load_file(MODELS / "digits_data.safetensors")["test.images"]
    size, tokens = int(np.prod(shape)), np.empty(0, np.int8)
    for image in images:
        if tokens.size >= size:
            break
        tokens = np.append(tokens, model((image * 7).astype(np.int8))["relu"])
    return tokens[:size].reshape(shape)


def layer_cases(name: str, rng: np.random.Generator) -> Iterator[Case]:
    """The examples of a layer type."""
    for example in layers.get(name).examples(rng):
        if example.vocab_size:
            ids = rng.integers(0, example.vocab_size, (4, example.length)).astype(np.int16)
            ids[0, 0], ids[0, -1] = 0, example.vocab_size - 1
            yield Case(name, example.variant, example.sizes,
                       model(example.layers, [example.length], ids=True), example.tensors, ids,
                       example.floats)
            continue
        x = quantize(rng.normal(size=example.length), INPUT_SCALE)
        shape, tokens = [example.length], example.tokens
        if tokens:
            shape = [tokens, example.length // tokens]
        config = model(example.layers, shape, tokens is not None)
        yield Case(
            name, example.variant, example.sizes, config, example.tensors,
            np.stack([x, *extremes(rng, x.shape), recorded(x.shape)]), example.floats,
            lengths=lengths(example.tokens) if example.tokens else None,
            most_lsb=layers.get(name).most_lsb,
        )


def generator(mechanism: str) -> np.random.Generator:
    """A mechanism's own random numbers, whatever others there are."""
    return np.random.default_rng([SEED, *mechanism.encode()])


def mechanisms() -> dict[str, Callable[[np.random.Generator], Iterator[Case]]]:
    """From a generator of random numbers to the cases of each mechanism: cores, layer types, and a
    whole encoder layer."""
    from .encoder import encoder_cases  # which makes a Case

    found: dict[str, Callable[[np.random.Generator], Iterator[Case]]] = {
        name: partial(attention_cases, name) for name in cores.all_cores()
    }
    for name, kind in layers.types().items():
        if type(kind).examples is not LayerType.examples:
            found[name] = partial(layer_cases, name)
    return {**found, "encoder": encoder_cases}
