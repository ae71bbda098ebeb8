"""What integers cost a model of text: cross-entropy and agreement by the width of activations and
of the cache, for the table of docs/text.md.

    python -m tools.text_widths stories260K.bin tok512.bin
"""

import copy
import sys
from pathlib import Path

import numpy as np

from attn8_host import float_model
from attn8_host.importers import llama2c
from attn8_host.model import Model
from attn8_host.numerics.floating import softmax
from attn8_host.quantize.model import quantize_model
from attn8_host.quantize.written import written

CONTEXT, STORIES = 192, 11
WIDTHS = [(16, "int16"), (16, "int8"), (8, "int16"), (8, "int8")]  # of activations, of the cache


def nats(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """-log p of each token behind the first; logits [tokens, vocabulary]."""
    p = softmax(logits[:-1].astype(np.float64))
    return -np.log(p[np.arange(len(tokens) - 1), tokens[1:]])


def main(checkpoint: Path, tokenizer: Path) -> None:
    """Prints a row of the table for each pair of widths."""
    config, tensors = llama2c.read(checkpoint, CONTEXT, tokenizer)
    stories = written(config, tensors, STORIES, seed=2)
    run = float_model.prepare(config, tensors)
    floats = [run(story)["head"] for story in stories]
    base = np.concatenate([nats(*pair) for pair in zip(floats, stories, strict=True)])
    print(f"float: {base.mean():.4f} nats, {len(base)} tokens")
    for bits, cache in WIDTHS:
        chosen = copy.deepcopy(config)
        for entry in chosen["layers"]:
            if entry["type"] == "grouped_attention":
                entry["cache"] = cache
            if "activation_bits" in entry:
                entry["activation_bits"] = bits
        made = Model(*quantize_model(chosen, tensors, written(config, tensors)), False)
        scale = made.config["layers"][-1]["scale"]
        found = [made(story)["head"] * scale for story in stories]
        cost = np.concatenate([nats(*pair) for pair in zip(found, stories, strict=True)])
        same = np.mean([a.argmax(1) == b.argmax(1) for a, b in zip(floats, found, strict=True)])
        print(f"| int{bits} | {cache} | {cost.mean():.4f} | {cost.mean() - base.mean():+.4f} | "
              f"{same:.1%} |", flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
