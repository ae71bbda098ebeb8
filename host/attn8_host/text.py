"""Text from a model of token ids; the device module of the same name is its twin."""

from collections.abc import Iterator

import numpy as np

from .errors import ModelError
from .model import Model
from .sampling import Sampler
from .schema import between


def encoded(model: Model, prompt: str) -> list[int]:
    """The tokens of a prompt.

    Raises:
        ModelError: the model has no tokenizer, or no room for so many.
    """
    if model.tokenizer is None:
        raise ModelError("the model has no tokenizer: import it with --tokenizer, or with "
                         "tokenizer.json in its folder")
    ids, room = model.tokenizer.encode(prompt), model.config["input"]["shape"][0]
    if len(ids) > room:
        raise ModelError(f"the prompt has {len(ids)} tokens, the model has room for {room}")
    return ids


def steps(
    model: Model, ids: list[int], tokens: int | None = None, temperature: float = 0.0,
    top_p: float = 1.0, seed: int = 1,
) -> Iterator[tuple[int, np.ndarray]]:
    """What a model goes on with behind some ids: each token, and the logits that it was chosen
    from, until a text ends or there is no more room.

    Args:
        model: of int8, with a tokenizer.
        ids: of the prompt.
        tokens: at most.
        temperature, top_p, seed: of the Sampler.

    Raises:
        TypeError, ValueError: an argument is none of these.
        ModelError: one is out of its range, or a newer one writes with this model.
    """
    tokenizer, room = model.tokenizer, model.config["input"]["shape"][0]
    assert tokenizer is not None  # as there are ids
    tokens = room if tokens is None else tokens
    between("tokens", tokens, 1, 1 << 15)
    left = min(tokens, room + 1 - len(ids))
    mine = tokenizer.writer = object()
    model.reset()
    sampler = Sampler(model.config["text"], temperature, top_p, seed)
    logits = model.prefill(np.array(ids, np.int16))
    while True:
        token = sampler(logits)
        if token in (tokenizer.begin, tokenizer.end):
            return
        yield token, logits
        if tokenizer.writer is not mine:
            raise ModelError("generate: a newer one writes with this model; end one before the "
                             "next, or load the model twice")
        left -= 1
        if not left:
            return
        logits = model.step(np.array([token], np.int16))
