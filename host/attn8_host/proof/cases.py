"""What `attn8 verify` runs: for every mechanism cases, each a model file of one layer with inputs.

Whoever adds an attention core adds a line to ATTENTION; another layer, a function to MECHANISMS.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from safetensors.numpy import load_file

from ..layers.conv1d import windows
from ..model import load
from ..numerics import floating
from ..numerics.formats import FIXED, Format
from ..paths import MODELS
from ..quantize import CONSTANTS, heads_scale, linear, quantize, random_features

# (seq_len, embed_dim, num_heads), odd sizes among them
SHAPES = [(1, 8, 1), (5, 9, 3), (16, 32, 4), (33, 24, 8), (64, 64, 2), (12, 128, 8), (512, 8, 1)]
VARIANT_SHAPES = SHAPES[1:4]  # of all variants but the first
COST_LENGTHS = (16, 32, 64, 128, 256)  # seq_len at which the cost is measured
COST_WIDTH = 16  # embed_dim there, one head
INPUT_SCALE = 4 / 127  # random inputs are normal; beyond 4 they saturate
MAX_WEIGHTS = 33  # seq_len up to which the intermediates, which grow with its square, are compared


@dataclass
class Case:
    """One model of one layer, what to send it, and how far it may be from floats.

    Attributes:
        shape: sizes by name, as reported.
        inputs: int8 [samples, input size].
        floats: from the outputs of one inference to (int8 values, the float form of the same
            mechanism on the same int8 operands), in steps of int8.
        need_weights: compare the intermediates as well.
    """

    mechanism: str
    variant: str
    shape: dict[str, int]
    config: dict
    tensors: dict[str, np.ndarray]
    inputs: np.ndarray
    floats: Callable[[dict[str, np.ndarray]], tuple[np.ndarray, np.ndarray]]
    need_weights: bool = True


@dataclass(frozen=True)
class Variant:
    """How attention with one core is set up.

    Attributes:
        options: of the core, such as a window.
        key_len: of another sequence that keys and values come from; None: they come from x.
        padded: whether some keys are padding.
    """

    causal: bool = False
    options: dict = field(default_factory=dict)
    key_len: int | None = None
    padded: bool = False


@dataclass(frozen=True)
class Attention:
    """An attention core as a mechanism.

    Attributes:
        variants: by name; the first runs on every shape.
        parameters: from (generator, num_heads, head_dim) to the core's float parameters by name,
            [num_heads, ...] each; the core's constants are made from them.
        sized: from seq_len to more options of the core.
    """

    variants: dict[str, Variant]
    parameters: Callable[..., dict[str, np.ndarray]] = lambda rng, num_heads, head_dim: {}
    sized: Callable[[int], dict] = lambda seq_len: {}


def int8_features(
    rng: np.random.Generator, num_heads: int, head_dim: int
) -> dict[str, np.ndarray]:
    """Random features as the board has them: the float form gets the same operands."""
    features = random_features(num_heads, 32, head_dim, int(rng.integers(1 << 30)))
    step = float(np.abs(features).max()) / 127
    return {"features": quantize(features, step) * step}


MASKS = {
    "window": ["local_window", 2],
    "full": ["full"],
    "causal": ["causal"],
    "globals": ["global_indices", [0, 2]],
    "local_global": ["local_global", 1, [0, 3]],
    "blocks": ["block_diagonal", 3],
    "strided": ["strided", 1, 4],
    "random": ["random", 0.4, 3],
    "hnsw_layers": ["from_hnsw_layers", [[0, 1, 2, 3, 4], [0, 2], [2]]],
    "hnsw_edges": ["from_hnsw_edges", [[0, 4], [1, 2], [3, 1]]],
    "hnsw_adaptive": ["adaptive", 1, [[0, 4], [1, 3]]],
    "mincut": ["from_cut", 150, 3],
}

ATTENTION = {
    "decode": Attention(
        {"causal": Variant(causal=True)},
        sized=lambda seq_len: {"cache_len": seq_len + 1},
    ),
    "exact": Attention(
        {
            "full": Variant(),
            "causal": Variant(causal=True),
            "padded": Variant(padded=True),
            "cross": Variant(key_len=7),
            "precise": Variant(options={"precise": True}),
        },
    ),
    "flash": Attention(
        {
            "full": Variant(),
            "causal": Variant(causal=True),
            "block 5": Variant(options={"block_size": 5}),
        },
    ),
    "sliding": Attention(
        {
            "window 16": Variant(causal=True, options={"window": 16}),
            "window 3": Variant(causal=True, options={"window": 3}),
        },
    ),
    "sparse": Attention(
        {name: Variant(options={"mask": mask}) for name, mask in MASKS.items()}
        | {"random causal": Variant(causal=True, options={"mask": MASKS["random"]})},
    ),
    "linear": Attention(
        {
            "relu+1": Variant(options={"phi": "relu+1"}),
            "relu": Variant(options={"phi": "relu"}),
            "elu+1": Variant(options={"phi": "elu+1"}),
            "causal": Variant(causal=True),
            "unnormalised": Variant(options={"phi": "relu", "normalise": False}),
        },
    ),
    "local_global": Attention(
        {
            "full": Variant(options={"window": 4, "global_indices": [0]}),
            "causal": Variant(causal=True, options={"window": 2, "global_indices": [0, 3]}),
            "local": Variant(options={"window": 3, "global_indices": []}),
        },
        lambda rng, num_heads, head_dim: {"gate": rng.normal(size=(num_heads, head_dim))},
    ),
    "micro": Attention({"full": Variant(), "causal": Variant(causal=True)}),
    "performer": Attention(
        {"full": Variant(), "causal": Variant(causal=True)},
        int8_features,
    ),
}


def attention_cases(core: str, rng: np.random.Generator) -> Iterator[Case]:
    """The grid of a core: every shape for its first variant, some for the others."""
    for i, (name, variant) in enumerate(ATTENTION[core].variants.items()):
        for shape in VARIANT_SHAPES if i else SHAPES:
            yield attention_case(core, name, variant, shape, rng)


def cost_cases(core: str, rng: np.random.Generator) -> Iterator[Case]:
    """The first variant of a core at growing seq_len."""
    name, variant = next(iter(ATTENTION[core].variants.items()))
    for seq_len in COST_LENGTHS:
        yield attention_case(core, name, variant, (seq_len, COST_WIDTH, 1), rng)


def attention_case(
    core: str, name: str, variant: Variant, shape: tuple[int, int, int], rng: np.random.Generator
) -> Case:
    """Multi-head attention with random weights; q and k are such that scores are about normal."""
    seq_len, embed_dim, num_heads = shape
    head_dim = embed_dim // num_heads
    mechanism = ATTENTION[core]
    parameters = mechanism.parameters(rng, num_heads, head_dim)
    options = variant.options | mechanism.sized(seq_len)

    def tokens(n: int) -> np.ndarray:
        return quantize(rng.normal(size=(n, embed_dim)), INPUT_SCALE)

    weights = {part: rng.normal(size=(embed_dim, embed_dim)) for part in ("q", "k", "v", "out")}
    x = tokens(seq_len)
    memory = None if variant.key_len is None else tokens(variant.key_len)
    mask = None
    if variant.padded:
        mask = (np.arange(variant.key_len or seq_len) % 3 == 1).astype(np.int8)
    # What comes out, in floats, sets the scale of the heads
    weights = {part: w / np.sqrt(embed_dim) for part, w in weights.items()}
    sources = {"q": x, "k": x if memory is None else memory, "v": x if memory is None else memory}
    reals = {part: tokens * INPUT_SCALE @ weights[part].T for part, tokens in sources.items()}
    scales = {part: float(np.abs(real).max()) / 127 for part, real in reals.items()}
    form = partial(
        floating.FORMS[core], causal=variant.causal,
        steps=[scales[part] for part in ("q", "k", "v")], **options, **parameters,
    )
    if mask is not None:
        form = partial(form, mask=mask != 0)
    heads = form(*(split(real, num_heads) for real in reals.values()))
    scales["heads"] = heads_scale(float(np.abs(heads).max()), scales["v"], core)

    tensors: dict[str, np.ndarray] = {}
    for part, w in weights.items():
        scale_in, scale_out = INPUT_SCALE, scales.get(part)
        if part == "out":
            scale_in, scale_out = scales["heads"], 2 * scales["heads"]
        made = linear(w, np.zeros(embed_dim), scale_in, scale_out)
        made.pop("scale")
        tensors |= {f"attn.{part}.{kind}": values for kind, values in made.items()}
    if memory is not None:
        tensors["attn.memory"] = memory
    if mask is not None:
        tensors["attn.key_padding_mask"] = mask
    constants = CONSTANTS[core](
        head_dim, *(scales[part] for part in ("q", "k", "v", "heads")), **options, **parameters
    )
    for key, values in list(constants.items()):
        if isinstance(values, np.ndarray):
            tensors[f"attn.core.{key}"] = constants.pop(key)
    entry = {
        "type": "attention", "name": "attn", "seq_len": seq_len, "embed_dim": embed_dim,
        "num_heads": num_heads, "core": core, "causal": variant.causal, "constants": constants,
        "options": options,
    }  # fmt: skip

    def floats(outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        q, k, v = (outputs[f"attn.{part}"] * scales[part] for part in ("q", "k", "v"))
        return outputs["attn.heads"], np.clip(form(q, k, v) / scales["heads"], -127, 127)

    return Case(
        mechanism=core,
        variant=name,
        shape={"seq_len": seq_len, "embed_dim": embed_dim, "num_heads": num_heads},
        config=model([entry], [seq_len, embed_dim]),
        tensors=tensors,
        inputs=np.stack([x, *extremes(rng, x.shape), recorded(x.shape)]).reshape(-1, x.size),
        floats=floats,
        need_weights=seq_len <= MAX_WEIGHTS,
    )


def split(x: np.ndarray, num_heads: int) -> np.ndarray:
    """[seq_len, embed_dim] -> [num_heads, seq_len, head_dim]."""
    return x.reshape(len(x), num_heads, -1).transpose(1, 0, 2)


def model(layers: list[dict], shape: list[int]) -> dict:
    """The config of a model of a few layers."""
    layers = [{"type": "reshape", "name": "tokens", "shape": shape}, *layers]
    return {
        "format": "attn8", "version": 1, "name": layers[-1]["name"], "layers": layers,
        "input": {"shape": [int(np.prod(shape))], "scale": INPUT_SCALE},
    }  # fmt: skip


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


def conv1d_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Convolutions in int8, behind a ReLU; the first has the published sizes."""
    for length, size, stride, filters in ((128, 5, 2, 4), (33, 7, 3, 5)):
        sizes = {"length": length, "kernel_size": size, "stride": stride, "filters": filters}
        weight, bias = rng.normal(size=(filters, size)), rng.normal(size=filters)
        x = quantize(rng.normal(size=length), INPUT_SCALE)
        scale = float(np.abs(convolve(x * INPUT_SCALE, weight, bias, stride)).max()) / 127
        made = linear(weight, bias, INPUT_SCALE, scale)
        weight_scales = made.pop("scale").astype(np.float64)
        form = partial(
            convolve, weight=made["weight"] * weight_scales[:, None],
            bias=made["bias"] * INPUT_SCALE * weight_scales, stride=stride,
        )

        def floats(
            outputs: dict[str, np.ndarray], form: Callable = form, scale: float = scale
        ) -> tuple[np.ndarray, np.ndarray]:
            want = form(outputs["relu"].astype(np.float64) * INPUT_SCALE) / scale
            return outputs["conv"], np.clip(want, -127, 127)

        yield Case(
            "conv1d", "int8", sizes,
            model([{"type": "relu", "name": "relu"}, {"type": "conv1d", "name": "conv", **sizes}],
                  [length]),
            {f"conv.{part}": tensor for part, tensor in made.items()},
            np.stack([x, *extremes(rng, x.shape), recorded(x.shape)]), floats,
        )


def attention_1d_cases(rng: np.random.Generator) -> Iterator[Case]:
    """SelfAttention1D in each fixed-point format; at last behind a Conv1D, as published."""
    variants = [("Q8.8", "nearest", "saturate"), ("Q8.8", "truncate", "wrap"),
                ("Q16.16", "nearest", "wrap"), ("Q16.16", "truncate", "saturate"),
                ("Q24.8", "nearest", "wrap")]  # fmt: skip
    for name, rounding, overflow in variants:
        form = Format(name, rounding, overflow)
        yield attention_1d_case(form, 16, 8, 4, rng)
    for n, d, p in ((4, 2, 2), (1, 1, 1), (33, 5, 3)):
        yield attention_1d_case(Format("Q16.16"), n, d, p, rng)
    yield attention_1d_case(Format("Q16.16"), 62, 4, 4, rng, conv=True)


def attention_1d_case(
    form: Format, n: int, d: int, p: int, rng: np.random.Generator, conv: bool = False
) -> Case:
    """One layer; its errors count in steps of the format."""
    settings = {"format": form.name, "rounding": form.rounding, "overflow": form.overflow}
    sizes = {"seq_len": n, "embed_dim": d, "projection_dim": p}
    real = {"attn.weights": rng.normal(0, 0.5 / np.sqrt(d), (3, d, p)),
            "attn.biases": rng.normal(0, 0.1, (3, p))}
    length = n * d
    # int8 becomes numbers within +-1: sums of products stay in the range of Q16.16
    layers: list[dict] = [{"type": "convert", "name": "x", "format": form.name,
                           "shift": FIXED[form.name][1] - 7}]
    if conv:
        length = 2 * n + 4
        layers.append({"type": "conv1d", "name": "conv", "length": length, "kernel_size": 5,
                       "stride": 2, "filters": d, **settings})
        real |= {"conv.weights": rng.normal(0, 0.3, (d, 5)), "conv.biases": rng.normal(0, 0.1, d)}
    layers.append({"type": "self_attention_1d", "name": "attn", **sizes, **settings})
    tensors = {name: form.encode(values) for name, values in real.items()}
    weights, biases = (form.decode(tensors[f"attn.{part}"]) for part in ("weights", "biases"))

    def floats(outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        x = form.decode(outputs["conv" if conv else "x"]).reshape(n, d)
        q, k, v = (x @ weights[i] + biases[i] for i in range(3))
        exact = np.maximum(q, 0) @ (np.maximum(k, 0).T @ v)
        return outputs["attn"], exact * 2 ** FIXED[form.name][1]

    x = rng.integers(-127, 128, length).astype(np.int8)
    return Case(
        "attention_1d", "conv1d" if conv else f"{form.name} {form.overflow}", sizes,
        model(layers, [length]), tensors,
        np.stack([x, *extremes(rng, x.shape), recorded(x.shape)]), floats,
    )


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """[length] -> [positions, filters], with weight [filters, kernel_size]."""
    return windows(x, weight.shape[1], stride) @ weight.T + bias


# From a generator of random numbers to the cases of each mechanism
MECHANISMS: dict[str, Callable[[np.random.Generator], Iterator[Case]]] = {
    **{core: partial(attention_cases, core) for core in ATTENTION},
    "conv1d": conv1d_cases,
    "attention_1d": attention_1d_cases,
}
