"""Folders of Hugging Face transformers: config.json and safetensors of Llama, of those that are
computed alike (Mistral, Qwen2, Qwen3, Phi-3), and of GPT-2.

Llama's queries and keys have the two values of a rotary pair half a head apart; here they are
adjacent. GPT-2's weights are [inputs, outputs], and c_attn has q, k and v side by side.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from .. import schema
from ..errors import ModelError
from ..paths import require_file
from ..schema import COUNT, SCALE, SIZE, Kind
from . import decoder, pieces
from .decoder import Sizes

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"


def _only(value: Any) -> Kind:
    """A field that may say one thing only: anything else computes what is not known here."""
    return Kind(schema.shown(value), lambda given: type(given) is type(value) and given == value)


def _or_none(kind: Kind) -> Kind:
    return Kind(f"{kind.words}, or null", lambda given: given is None or kind.holds(given))


FLAG, NONE, NO, YES = schema.FLAG, _only(None), _only(False), _only(True)
ACTIVATIONS = {
    "gelu_new": {"type": "gelu", "approximate": "tanh"},
    "gelu_pytorch_tanh": {"type": "gelu", "approximate": "tanh"},
    "gelu_fast": {"type": "gelu", "approximate": "tanh"},
    "gelu": {"type": "gelu", "approximate": "none"},
    "silu": {"type": "silu"}, "swish": {"type": "silu"}, "relu": {"type": "relu"},
}
TOKEN = Kind("a token, or null", lambda given: given is None or schema.COUNT.holds(given) or (
    type(given) is list and len(given) == 1 and schema.COUNT.holds(given[0])))
COMMON = {"bos_token_id": TOKEN, "eos_token_id": TOKEN, "tie_word_embeddings": FLAG,
          "is_encoder_decoder": NO, "add_cross_attention": NO, "quantization_config": NONE,
          "is_decoder": FLAG, "pruned_heads": _only({})}
# What says nothing of what is computed without training
IDLE = {
    "architectures", "model_type", "dtype", "torch_dtype", "transformers_version", "use_cache",
    "initializer_range", "pad_token_id", "attention_dropout", "attn_pdrop", "embd_pdrop",
    "resid_pdrop", "pretraining_tp", "n_ctx", "task_specific_params", "reorder_and_upcast_attn",
    "gradient_checkpointing", "output_past", "id2label", "label2id", "return_dict",
    "output_attentions", "output_hidden_states", "torchscript", "use_bfloat16", "problem_type",
    "chunk_size_feed_forward", "finetuning_task", "tokenizer_class", "prefix",
}
POSITIONS = schema.within(1, 1 << 30)  # a context may be said that is less
FULL = Kind('a list of "full_attention"', lambda given: given is None or (
    type(given) is list and set(given) == {"full_attention"}))
# Fields of each family: which there must be, and which there may be
LLAMA = (
    {"hidden_size": SIZE, "intermediate_size": SIZE, "num_hidden_layers": SIZE,
     "num_attention_heads": SIZE, "vocab_size": SIZE, "max_position_embeddings": POSITIONS,
     "rms_norm_eps": SCALE},
    {"num_key_value_heads": _or_none(SIZE), "head_dim": _or_none(SIZE), "rope_theta": SCALE,
     "rope_parameters": _or_none(schema.OBJECT), "rope_scaling": _or_none(schema.OBJECT),
     "hidden_act": schema.one_of("silu", "swish"), "attention_bias": FLAG, "mlp_bias": FLAG,
     "sliding_window": _or_none(POSITIONS), "use_sliding_window": NO, "layer_types": FULL,
     "max_window_layers": COUNT, "partial_rotary_factor": _only(1.0),
     "original_max_position_embeddings": POSITIONS},
)
LLAMAS = ("llama", "mistral", "qwen2", "qwen3", "phi3")
GPT2 = (
    {"n_embd": SIZE, "n_layer": SIZE, "n_head": SIZE, "vocab_size": SIZE, "n_positions": SIZE,
     "layer_norm_epsilon": SCALE},
    {"n_inner": _or_none(SIZE), "activation_function": schema.one_of(*ACTIVATIONS),
     "scale_attn_weights": YES, "scale_attn_by_inverse_layer_idx": NO},
)


def read(
    folder: Path, context: int | None = None, name: str | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The float model of a folder, and its tokenizer if it has one: the config and the tensors.

    Args:
        folder: with config.json, and model.safetensors or the files that its index names.
        context: tokens that the model has room for, by default as many as it has positions, and at
            most 516.
        name: of the model, by default that of the folder.

    Raises:
        ModelError: it is of another family, a field of the config says something that changes what
            is computed and is not known, a tensor is missing, misshapen or unused, or the tokenizer
            is not known.
    """
    path = folder / "config.json"
    about = pieces.load(path)
    kind = about.get("model_type")
    if kind not in (*LLAMAS, "gpt2"):
        raise ModelError(f"{path}: model_type: expected {', '.join(LLAMAS)} or gpt2, got {kind!r}")
    needed, optional = GPT2 if kind == "gpt2" else LLAMA
    try:
        said = _checked(about, needed, {**COMMON, **optional})
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    found = Tensors(folder)
    own = name or folder.resolve().name
    config, tensors = (_gpt2(own, said, found, context) if kind == "gpt2" else
                       _llama(own, said, found, context, kind))
    found.refuse_unused()
    if pieces.there(folder):
        try:
            begin, end = _ends(said)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
        tokenizer = pieces.read(folder, begin, end, said["vocab_size"])
        tensors |= tokenizer.tensors()
    return config, tensors


def _checked(
    about: Mapping[str, Any], needed: Mapping[str, Kind], optional: Mapping[str, Kind]
) -> dict[str, Any]:
    """The fields that say what is computed."""
    said = {key: value for key, value in about.items()
            if key not in IDLE and not key.startswith(("_", "summary_"))}
    for key in said:
        if key not in needed and key not in optional:
            raise ModelError(f"{key}: is not known; take it out if it changes nothing of what the "
                             "model computes")
    for key, kind in {**needed, **optional}.items():
        if key not in said and key in needed:
            raise ModelError(f"it lacks {key}")
        if key in said and not kind.holds(said[key]):
            raise ModelError(f"{key}: expected {kind.words}, got {schema.shown(said[key])}")
    return said


def _ends(said: Mapping[str, Any]) -> tuple[int, int]:
    """The tokens between which a text lies; the second -1 where there is none."""
    begin, end = ((given[0] if type(given) is list else given) for given in
                  (said.get("bos_token_id"), said.get("eos_token_id")))
    begin, end = end if begin is None else begin, -1 if end is None else end
    if begin is None:
        raise ModelError("bos_token_id: expected a token with which a text begins, got null")
    for key, token in (("bos_token_id", begin), ("eos_token_id", end)):
        if token >= said["vocab_size"]:
            raise ModelError(f"{key}: expected 0 to {said['vocab_size'] - 1}, got {token}")
    return begin, end


class Tensors:
    """Those of a folder by name; each is read when it is asked for."""

    def __init__(self, folder: Path):
        self.prefix = ""
        self.files: dict[str, Path] = {}
        index = folder / INDEX
        if (folder / WHOLE).exists() or not index.exists():
            self.where = folder / WHOLE
            self._names(self.where, None)
            return
        self.where = index
        parts = pieces.load(index).get("weight_map")
        if type(parts) is not dict or not all(type(file) is str for file in parts.values()):
            raise ModelError(f"{index}: weight_map: expected a file for each tensor")
        for file in sorted(set(parts.values())):
            if Path(file).name != file:
                raise ModelError(f"{index}: expected files of its folder, got {file}")
            self._names(folder / file, {key for key, each in parts.items() if each == file})

    def _names(self, path: Path, wanted: set[str] | None) -> None:
        require_file(path)
        try:
            with safe_open(path, "numpy") as file:
                found = set(file.keys())
        except FileNotFoundError:
            raise ModelError(f"{path}: no such file") from None
        except Exception as error:  # as in modelfile.read
            raise ModelError(f"{path}: not a safetensors file that can be read ({error})") from None
        if wanted is not None and wanted != found:
            key = sorted(wanted ^ found)[0]
            raise ModelError(f"{self.where}: {key}: {path.name} "
                             f"{'lacks it' if key in wanted else 'has it, the index does not'}")
        self.files |= dict.fromkeys(found, path)
        self.left = set(self.files)

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.files

    def __call__(self, name: str, *shape: int) -> np.ndarray:
        """A tensor of floats as float32.

        Raises:
            ModelError: it is missing, of another shape, or of no floats.
        """
        name = self.prefix + name
        if name not in self.files:
            raise ModelError(f"{self.where}: missing tensor {name}")
        self.left.discard(name)
        with safe_open(self.files[name], "numpy") as file:
            about = file.get_slice(name)
            given, kind = about.get_shape(), about.get_dtype()
            if kind not in ("F16", "BF16", "F32", "F64") or given != list(shape):
                raise ModelError(f"{self.files[name]}: {name}: expected floats {list(shape)}, got "
                                 f"{kind} {given}")
            if kind != "BF16":
                return np.asarray(file.get_tensor(name), np.float32)
        return bfloat16(self.files[name], name).reshape(shape)

    def ignore(self, name: str, wanted: np.ndarray | None = None) -> None:
        """A tensor that may be there, and says nothing new.

        Raises:
            ModelError: it is not as `wanted`.
        """
        if name in self:
            if wanted is not None and not np.allclose(self(name, *wanted.shape), wanted, 1e-5):
                raise ModelError(f"{self.where}: {self.prefix}{name} is another than the config "
                                 "says")
            self.left.discard(self.prefix + name)

    def refuse_unused(self) -> None:
        """Raises ModelError where a tensor has not been asked for."""
        if self.left:
            raise ModelError(f"{self.where}: unused tensor {min(self.left)}; a model with "
                             "more than its family has is not known")


def bfloat16(path: Path, name: str) -> np.ndarray:
    """A tensor of bfloat16, which NumPy has not, as float32 [values]."""
    from ..modelfile import header

    start, about = header(path)
    first, last = about[name]["data_offsets"]
    upper = np.fromfile(path, "<u2", (last - first) // 2, offset=start + first)
    return (upper.astype(np.uint32) << 16).view(np.float32)


def _head(found: Tensors, tied: bool, words: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """lm_head, which a file may have twice; none where the embedding is the head."""
    if not tied:
        return {"head": found(name, *words.shape)}
    if name in found and not np.array_equal(found(name, *words.shape), words):
        raise ModelError(f"{found.where}: {name} is not the embedding, which tie_word_embeddings "
                         "of the config says; say false there, or take it out")
    return {}


def adjacent(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head, of a weight or a bias, from (first halves, second halves) of rotary pairs to
    pairs."""
    halves = weight.reshape(heads, 2, len(weight) // heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _rotary_base(said: Mapping[str, Any]) -> float:
    base = said.get("rope_theta", 10000.0)
    for key in ("rope_parameters", "rope_scaling"):
        for field, value in (said.get(key) or {}).items():
            if field == "rope_theta" and SCALE.holds(value):
                base = value
            elif (field, value) not in (("rope_type", "default"), ("type", "default"),
                                        ("partial_rotary_factor", 1.0)):
                raise ModelError(f"config.json: {key}.{field}: is not known, got "
                                 f"{schema.shown(value)}; only plain rotary positions are")
    return float(base)


def _llama(
    name: str, said: Mapping[str, Any], found: Tensors, context: int | None, kind: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Llama; kind: one of LLAMAS."""
    e, heads, hidden = (said[key] for key in ("hidden_size", "num_attention_heads",
                                              "intermediate_size"))
    kv_heads, vocab = said.get("num_key_value_heads") or heads, said["vocab_size"]
    if e % heads or heads % kv_heads or e // heads % 2:
        raise ModelError(f"config.json: num_attention_heads: expected a divisor of hidden_size {e} "
                         f"with heads of an even width, and a multiple of num_key_value_heads "
                         f"{kv_heads}, got {heads}")
    d = e // heads
    if said.get("head_dim") not in (None, d):
        raise ModelError(f"config.json: head_dim: expected {d}, hidden_size / num_attention_heads, "
                         f"got {said['head_dim']}")
    base, n = _rotary_base(said), said["num_hidden_layers"]
    sizes = Sizes(e, hidden, n, heads, kv_heads, vocab,
                  decoder.room(said["max_position_embeddings"], context), said["rms_norm_eps"])
    window = said.get("sliding_window")
    used = kind not in ("qwen2", "qwen3")  # which say it of use_sliding_window
    if window is not None and window < sizes.context and used:
        raise ModelError(f"config.json: sliding_window: expected null, or the {sizes.context} "
                         f"tokens of the context at least, got {window}; --context {window} takes "
                         "as many")
    words = found("model.embed_tokens.weight", vocab, e)
    made: dict[str, Any] = {"words": words, "norm": found("model.norm.weight", e)}
    made |= _head(found, said.get("tie_word_embeddings", False), words, "lm_head.weight")
    turns = float(base) ** (-np.arange(0, d, 2) / d)
    biased = said.get("attention_bias", kind == "qwen2"), said.get("mlp_bias", False)
    for i in range(n):
        own, attn, mlp = (f"model.layers.{i}.{part}" for part in ("", "self_attn.", "mlp."))
        found.ignore(attn + "rotary_emb.inv_freq", turns)
        for norm, part in (("attention_norm", "input"), ("ffn_norm", "post_attention")):
            made.setdefault(norm, []).append(found(f"{own}{part}_layernorm.weight", e))
        wide = {"q": e, "k": kv_heads * d, "v": kv_heads * d}
        for place, inputs, parts, bias in (
            (attn + "qkv_proj", e, wide, biased[0]),
            (attn + "o_proj", e, {"out": e}, biased[0] and kind != "qwen2"),
            (mlp + "gate_up_proj", e, {"w1": hidden, "w3": hidden}, biased[1]),
            (mlp + "down_proj", hidden, {"w2": e}, biased[1]),
        ):
            for key, values in _products(found, place, inputs, parts, bias, kind).items():
                part = key.partition(".")[0]
                if part in "qk":
                    values = adjacent(values, heads if part == "q" else kv_heads)
                made.setdefault(key, []).append(values)
        for part in ("q_norm", "k_norm") if kind == "qwen3" else ():
            weight = adjacent(found(f"{attn}{part}.weight", d), 1)
            made.setdefault(part, []).append(weight)
        if biased[0] and "out.bias" not in made:
            made["out.bias"] = [np.zeros(e, np.float32)] * n
    return decoder.llama(name, sizes, made, base)


NAMES = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "w1": "gate_proj", "w3": "up_proj"}


def _products(
    found: Tensors, place: str, inputs: int, parts: Mapping[str, int], bias: bool, kind: str
) -> dict[str, np.ndarray]:
    """Weights, and biases as "q.bias" if there are any, of products of the same values.

    Args:
        place: the name where they lie one after another, as in Phi-3.
        parts: of each its outputs.
    """
    made: dict[str, np.ndarray] = {}
    for key in ("weight", "bias") if bias else ("weight",):
        shape = (inputs,) if key == "weight" else ()
        if kind == "phi3" or len(parts) == 1:
            each = np.split(found(f"{place}.{key}", sum(parts.values()), *shape),
                            np.cumsum(list(parts.values()))[:-1])
        else:
            above = place.rpartition(".")[0]
            each = [found(f"{above}.{NAMES[part]}.{key}", n, *shape) for part, n in parts.items()]
        made |= {part if key == "weight" else f"{part}.bias": values
                 for part, values in zip(parts, each, strict=True)}
    return made


def _gpt2(
    name: str, said: Mapping[str, Any], found: Tensors, context: int | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    e, heads, n, vocab = (said[key] for key in ("n_embd", "n_head", "n_layer", "vocab_size"))
    if e % heads:
        raise ModelError(f"config.json: n_head: expected a divisor of n_embd {e}, got {heads}")
    hidden, most = said.get("n_inner") or 4 * e, said["n_positions"]
    sizes = Sizes(e, hidden, n, heads, heads, vocab, decoder.room(most, context),
                  said["layer_norm_epsilon"])
    if "transformer.wte.weight" in found:  # with a head, as files before had it not
        made = _head(found, said.get("tie_word_embeddings", True),
                     found("transformer.wte.weight", vocab, e), "lm_head.weight")
        found.prefix = "transformer."
    else:
        made = {}
        if not said.get("tie_word_embeddings", True):
            raise ModelError(f"{found.where}: missing tensor lm_head.weight")

    def parts(name: str, *shape: int) -> dict[str, np.ndarray]:
        """Of a norm, or of a product: its weight is [inputs, outputs] here."""
        weight = found(name + ".weight", *shape)
        return {"weight": weight.T.copy() if weight.ndim == 2 else weight,
                "bias": found(name + ".bias", shape[-1])}

    layers: dict[str, list[dict[str, np.ndarray]]] = {
        key: [] for key in ("norm1", "attention", "norm2", "up", "down")}
    for i in range(n):
        prefix = f"h.{i}."
        found.ignore(prefix + "attn.masked_bias")
        if prefix + "attn.bias" in found:  # the causal mask
            found.left.discard(f"{found.prefix}{prefix}attn.bias")
        both = parts(prefix + "attn.c_attn", e, 3 * e)
        attention = {f"{part}.{key}": values[j * e : (j + 1) * e] for key, values in both.items()
                     for j, part in enumerate("qkv")}
        attention |= {f"out.{key}": values
                      for key, values in parts(prefix + "attn.c_proj", e, e).items()}
        layers["attention"].append(attention)
        layers["norm1"].append(parts(prefix + "ln_1", e))
        layers["norm2"].append(parts(prefix + "ln_2", e))
        layers["up"].append(parts(prefix + "mlp.c_fc", e, hidden))
        layers["down"].append(parts(prefix + "mlp.c_proj", hidden, e))
    return decoder.gpt2(
        name, sizes, {**made, **layers, "words": found("wte.weight", vocab, e),
                      "positions": found("wpe.weight", most, e)[: sizes.context],
                      "norm": parts("ln_f", e)},
        ACTIVATIONS[said.get("activation_function", "gelu_new")])
