"""Plays a recorded signal to a model on a board: what live.py does with a sensor, without one.

    python examples/stream/play.py                     on the virtual board
    python examples/stream/play.py --board u0          on a chip

The signal is one of an MPU6050 at 50 Hz as it might be, in raw integers: it lies still, is tilted,
or shaken. The model, random features and a head in closed form, learns from another such signal.
"""

import argparse
import ast
from pathlib import Path

import numpy as np

from attn8_host import float_model
from attn8_host.boards import open_board
from attn8_host.deploy import deploy, push
from attn8_host.model import Model
from attn8_host.modelfile import pack
from attn8_host.quantize.model import quantize_model
from attn8_host.stream import Stream

HERE = Path(__file__).parent
LABELS = "still", "tilted", "shaken"
RATE, WINDOW, HOP, CHANNELS, FEATURES = 50, 25, 10, 6, 24
OPTIONS = {"majority": 3}


def recorded(seed, parts=8, seconds=2):
    """Raw integers int32 [samples, 6] of acceleration and rotation, and a label for each."""
    rng = np.random.default_rng(seed)
    order = np.r_[np.arange(3), rng.integers(0, 3, parts - 3)]
    labels = np.repeat(order, seconds * RATE)
    t = np.arange(len(labels))[:, None] / RATE
    x = rng.normal(0, 80, (len(labels), CHANNELS))
    x[:, :3] += np.where(labels[:, None] == 1, [11000, 0, 12000], [0, 0, 16384])
    x += np.sin(2 * np.pi * (3 * t + np.arange(CHANNELS) / 6)) * 6000 * (labels[:, None] == 2)
    return x.astype(np.int32), labels


def windows(x, labels):
    """Those of one label: float32 [n, WINDOW, 6], and their labels."""
    starts = [at for at in range(0, len(x) - WINDOW, 3) if len({*labels[at : at + WINDOW]}) == 1]
    return np.array([x[at : at + WINDOW] for at in starts], np.float32), labels[starts]


def classifier():
    """The int8 model."""
    x, labels = windows(*recorded(seed=0, parts=30))
    rng = np.random.default_rng(0)
    config = {
        "format": "attn8", "version": 1, "name": "motion", "input": {"shape": [WINDOW, CHANNELS]},
        "layers": [
            {"type": "dense", "name": "embed", "rows": WINDOW, "in_features": CHANNELS,
             "out_features": FEATURES},
            {"type": "relu", "name": "relu"},
            {"type": "mean_pool", "name": "pool", "seq_len": WINDOW, "embed_dim": FEATURES},
            {"type": "dense", "name": "head", "in_features": FEATURES, "out_features": 3,
             "output": "int32"},
        ],
    }  # fmt: skip
    tensors = {
        "embed.weight": rng.normal(0, 1 / 8000, (FEATURES, CHANNELS)),
        "embed.bias": rng.normal(0, 1, FEATURES),
        "head.weight": np.zeros((3, FEATURES)), "head.bias": np.zeros(3),
    }
    run = float_model.prepare(config, tensors)
    pooled = np.c_[[run(each)["pool"] for each in x], np.ones(len(x))]
    head = np.linalg.lstsq(pooled, np.eye(3)[labels], rcond=None)[0]
    tensors["head.weight"], tensors["head.bias"] = head[:-1].T.copy(), head[-1].copy()
    return Model(*quantize_model(config, tensors, x))


PLAY = """
import sys
sys.path.insert(0, "/stream")
import attn8
from live import from_loop
from recorded import Sensor
said = []
model = attn8.load("/models/motion.safetensors")
stream = attn8.Stream(model, {hop}, lambda stream: said.append(stream.label), **{options})
from_loop(Sensor("/stream/signal.bin", {channels}), stream)
print(repr((said, stream.overruns)))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--board", default="virtual", help="as attn8's (default: %(default)s)")
    arguments = parser.parse_args()
    model = classifier()
    x, labels = recorded(seed=1)
    expected = []
    Stream(model, HOP, lambda stream: expected.append(stream.label), **OPTIONS)(x)
    with open_board(arguments.board) as board:
        deploy(board)
        push(board, "/models/motion.safetensors", pack(model.config, model.tensors))
        for path in (HERE / "live.py", HERE / "recorded.py"):
            push(board, f"/stream/{path.name}", path.read_bytes())
        push(board, "/stream/signal.bin", x.astype("<i4").tobytes())
        board.enter_repl()
        code = PLAY.format(hop=HOP, options=OPTIONS, channels=CHANNELS)
        said, overruns = ast.literal_eval(board.execute(code))
    before = None
    for i, label in enumerate(said):
        at = WINDOW + i * HOP - 1
        if label != before:
            print(f"{at / RATE:5.1f} s  {LABELS[label]:8} it was {LABELS[labels[at]]}")
        before = label
    same = sum(a == b for a, b in zip(said, expected, strict=True))
    print(f"{len(said)} results, {overruns} overruns; {same} as NumPy says")


if __name__ == "__main__":
    main()
