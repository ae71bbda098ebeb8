"""A decoder of token ids as a model of text."""

from typing import Any

import numpy as np

from .. import layers, modelfile
from ..errors import ModelError
from ..layers.base import INT16, TOKENS
from ..tokenizer import Tokenizer
from .convert import is_softmax


def of_text(
    config: dict[str, Any], tensors: dict[str, np.ndarray], tokenizer: Tokenizer
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A float model that takes a token at a time: causal attention is grouped_attention, which has
    a cache, and products take int16. Its tokenizer goes along.

    Args:
        config, tensors: of a float model of token ids whose last layer gives logits of each.
        tokenizer: with as many pieces as there are tokens.

    Raises:
        ModelError: it is another model, or a layer takes more than the tokens so far.
    """
    tokens = config["input"]["shape"][0]
    if config["input"].get("format") != TOKENS or config["input"].get("lengths"):
        raise ModelError("tokenizer: it is for models of token ids without lengths; leave it out")
    entries = []
    for entry in config["layers"]:
        kind = layers.get(entry["type"])
        if kind.by_bits:
            entry = {**entry, "activation_bits": 16}
        if kind.name == "attention":
            entry = _grouped(entry)
        layers.get(entry["type"]).one_token(entry, tokens)
        entries.append(entry)
    last = entries[-1]
    if last["type"] != "dense" or last["out_features"] != config["layers"][0].get("vocab_size"):
        raise ModelError(f"{last['name']}: expected logits of each token, a dense layer from which "
                         "the vocabulary comes")
    last["output"] = INT16
    tokenizer.check(config)
    config = {**config, "layers": entries}
    modelfile.check_config(config)
    return config, tensors | tokenizer.tensors()


def _grouped(entry: dict[str, Any]) -> dict[str, Any]:
    """A causal attention with a cache."""
    name = entry["name"]
    if not entry["causal"]:
        raise ModelError(f"{name}: a text is made token by token, and this attention sees those "
                         "that are to come; give it a causal mask")
    if not is_softmax(entry["core"]) or "key_dim" in entry or "value_dim" in entry:
        raise ModelError(f"{name}: a model of text has attention with the core exact, and heads of "
                         "one width")
    kept = ("name", "inputs", "seq_len", "embed_dim", "num_heads", "bias")
    return {"type": "grouped_attention", **{key: entry[key] for key in kept if key in entry}}
