"""What the tokens of a text attend to, of a model whose logits the board has made."""

import numpy as np

from .. import layers, modelfile
from ..errors import ModelError
from ..layers.grouped_attention import Type
from ..model import Model
from ..modelfile import parts


def attended(model: Model, ids: list[int]) -> dict[str, np.ndarray]:
    """Of each layer with a cache what the last token attends to: shares [tokens] of all its heads'
    attention, from the integers that the board computes with.

    Args:
        model: of text.
        ids: the tokens, as many as there is room for at most.

    Raises:
        ModelError: no layer of the model is a grouped_attention.
    """
    x = np.full(model.config["input"]["shape"], ids[0], np.int16)
    x[: len(ids)] = ids  # attention is causal: those behind change nothing
    values = {"input": x} | model(x)
    found = {}
    for entry, (source, *_) in zip(model.config["layers"], modelfile.inputs(model.config),
                                   strict=True):
        kind = layers.get(entry["type"])
        if isinstance(kind, Type):
            layer = kind.layer(entry, parts(entry, kind.tensors(entry), model.tensors))
            layer(values[source].reshape(-1, entry["embed_dim"])[: len(ids)])
            shares = [weights[-1] / weights[-1].sum() for weights in layer.weights]
            found[entry["name"]] = np.mean(shares, axis=0)
    if not found:
        raise ModelError("no layer has the attention of text, grouped_attention")
    return found
