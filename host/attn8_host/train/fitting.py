"""Training without a host: what device/attn8/train/fitting.py computes, bit for bit."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import Attn8Error
from ..model import Model as Base
from .losses import token_labels
from .model import Model
from .schedule import LinearSchedule
from .session import schedule, to_words

Reported = tuple[float, float, float | None, float | None]


@dataclass
class Fitted:
    """What a fit found.

    Attributes:
        best: the epoch whose words are kept, from 1; 0 where the old ones are no worse than any.
        history: of each epoch loss and accuracy, and those of the samples that do not train.
        words: the parameters by name, int64.
    """

    best: int
    history: list[Reported]
    words: dict[str, np.ndarray]


def fit(
    config: dict[str, Any], tensors: dict[str, np.ndarray],
    samples: tuple[np.ndarray, np.ndarray | None], base: Base | None = None, epochs: int = 10,
    batch: int | None = None, validation: int = 5, patience: int = 3, seed: int = 1,
) -> Fitted:
    """Fits the model of a training file to samples; the arguments are those of attn8.train.fit.

    Args:
        config, tensors: of the file, the parameters in floats.
        samples: int8 inputs or ids [n, ...], and labels [n], or [n, tokens] of a model that gives
            each token values of its own, or None of a text.
        base: the int8 model, where its first layers come before those that train.

    Raises:
        Attn8Error: values saturate, there are too few samples, or all that train are of one class.
    """
    model = Model(config, tensors, base=base)
    x = samples[0].reshape(len(samples[0]), -1)
    tokens = config.get("labels", 1)
    n, text = len(x), samples[1] is None
    labels = np.zeros(0) if samples[1] is None else samples[1].reshape(n, -1)
    if tokens > 1:
        labels = token_labels(None if text else labels, x, tokens, config["input"].get("tokens"))
    if len(bare := np.flatnonzero((labels < 0).all(axis=1))):
        raise Attn8Error(f"sample {bare[0]}: no token of it has a label")
    words = to_words(config, model.f, base)
    batch = int(config["batch"]) if batch is None else batch
    held = n // validation if validation else 0
    if validation and held < 2:
        raise Attn8Error(f"samples: expected {2 * validation} at least, one of {validation} to "
                         f"validate with, got {n}; collect more, or give validation=0")
    order = np.arange(n)
    state = shuffle(order, 0, seed)
    trained = labels[order[held:]]
    if not text and len(classes := set(trained[trained >= 0].tolist())) == 1:
        raise Attn8Error(f"samples: all that train are of class {classes.pop()}; keep some of "
                         "others, too")
    steps = epochs * -(-(n - held) // batch)
    model.schedule = LinearSchedule(**schedule(steps))

    def run(i: int) -> tuple[int, int, int]:
        """Of a sample the loss, how many of its labels are right, and how many it has."""
        y = model(words(x[i]))
        right = y.reshape(tokens, -1).argmax(axis=1) == labels[i]
        loss = model.loss(y, labels[i] if tokens > 1 else int(labels[i, 0]))
        return int(loss), int(right.sum()), int((labels[i] >= 0).sum())

    def evaluate() -> tuple[int, int, int]:
        return totals([run(i) for i in order[:held]])

    def kept() -> dict[str, np.ndarray]:
        return {p.name: p.value.copy() for p in model.params}

    history: list[Reported] = []
    best, best_words, least = 0, kept(), evaluate()[0]
    for epoch in range(1, epochs + 1):
        found = []
        state = shuffle(order, held, state)
        for at in range(held, n):
            found.append(run(order[at]))
            model.backward()
            if (at - held) % batch == batch - 1 or at == n - 1:
                model.step()
        total, hits, count = totals(found)
        seen, right, among = evaluate()
        if model.f.overflows:
            raise Attn8Error(f"values saturated in epoch {epoch}: give a lower learning rate; the "
                             "model is as it was")
        one = int(model.f.array(np.array(1.0)))
        history.append((total / (n - held) / one, hits / count,
                        seen / held / one if held else None, right / among if held else None))
        if not held or seen < least:
            best, best_words, least = epoch, kept(), seen
        elif epoch - best >= patience:
            break
    return Fitted(best, history, best_words)


def totals(found: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    """The sums of what runs of samples gave."""
    losses, right, counts = zip(*found, strict=True) if found else ((), (), ())
    return sum(losses), sum(right), sum(counts)


def shuffle(order: np.ndarray, first: int, state: int) -> int:
    """Shuffles those from `first` on, by R. Durstenfeld's Algorithm 235 over xorshift32.

    Returns:
        The state behind it.
    """
    for i in range(len(order) - 1, first, -1):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        j = first + state % (i - first + 1)
        order[[i, j]] = order[[j, i]]
    return state
