"""Teaches a model on a board, from recorded signals and presses: teach.py without a sensor.

    python examples/learn/play.py                     on the virtual board
    python examples/learn/play.py --board u0          on a chip

The motion sensor of ../stream was mounted anew: upside down, so that accelerations are flipped, and
with another range, so that rotations count for half. The board keeps 60 windows for which someone
pressed a button, and learns from them; no computer trains anything.
"""

import argparse
import ast
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import load as from_bytes

from attn8_host.boards import open_board
from attn8_host.deploy import deploy, push
from attn8_host.model import load
from attn8_host.modelfile import pack
from attn8_host.train import session, tune
from attn8_host.train.fitting import fit

HERE = Path(__file__).parent
STREAM = HERE.parent / "stream"
sys.path.insert(0, str(STREAM))
import play as motion  # noqa: E402

MODEL, TRAINING, SAMPLES = (f"/models/motion{part}" for part in (
    ".safetensors", "_train.safetensors", ".samples"))
MOUNTED = np.array([-1, -1, -1, 0.5, -0.5, 0.5])  # of each channel, from what it was
PRESSES, EPOCHS, RATE = 60, 20, 0.02

TEACH = """
import os, sys
sys.path[:0] = ["/learn", "/stream"]
import attn8
from attn8.train import fit
from attn8.train.samples import Samples
from presses import Presses
from recorded import Sensor
from teach import collect
if {samples!r}.split("/")[-1] in os.listdir("/models"):
    os.remove({samples!r})
model = attn8.load({model!r})
samples = Samples({samples!r}, {size})
collect(model, Sensor("/learn/signal.bin", {channels}), Presses("/learn/presses.bin"), samples,
        {presses})
model = None
best, history = fit({training!r}, samples, epochs={epochs})
print(repr((len(samples), best, history)))
"""


def mounted(seed, parts):
    """As recorded there: raw integers [samples, 6], a label for each."""
    x, labels = motion.recorded(seed=seed, parts=parts)
    return np.round(x * MOUNTED).astype(np.int32), labels


def pressed(labels):
    """uint8 [samples], 255 but for PRESSES whole windows: twenty of each label."""
    found = np.full(len(labels), 255, np.uint8)
    ends = [at for at in range(motion.WINDOW - 1, len(labels), 7)
            if len({*labels[at - motion.WINDOW + 1 : at + 1]}) == 1]
    for label in range(3):
        mine = [at for at in ends if labels[at] == label][: PRESSES // 3]
        found[mine] = label
    return found


def right(model, x, labels):
    """The share of windows of which an int8 model says the label."""
    return np.mean([model(each)["head"].argmax() for each in model.feed(x)] == labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--board", default="virtual", help="as attn8's (default: %(default)s)")
    arguments = parser.parse_args()
    model = motion.classifier()
    before = right(model, *motion.windows(*motion.recorded(seed=2, parts=30)))
    test = motion.windows(*mounted(seed=2, parts=30))
    x, labels = mounted(seed=3, parts=30)
    presses = pressed(labels)
    config, tensors, names = tune.prepare(model, "all", MODEL, 10, "sgd", RATE)
    with open_board(arguments.board) as board, TemporaryDirectory() as folder:
        deploy(board)
        push(board, MODEL, pack(model.config, model.tensors))
        push(board, TRAINING, session.pack(config, tensors))
        for path in (HERE / "teach.py", HERE / "presses.py", STREAM / "recorded.py"):
            push(board, f"/learn/{path.name}", path.read_bytes())
        push(board, "/learn/signal.bin", x.astype("<i4").tobytes())
        push(board, "/learn/presses.bin", presses.tobytes())
        board.enter_repl()
        kept, best, history = ast.literal_eval(board.execute(TEACH.format(
            model=MODEL, training=TRAINING, samples=SAMPLES, channels=motion.CHANNELS,
            size=model.input_size, presses=PRESSES, epochs=EPOCHS)))
        made = Path(folder) / "made.safetensors"
        made.write_bytes(board.read_file(MODEL))
        learned = load(made)
        words = from_bytes(board.read_file(TRAINING))
    ends = np.flatnonzero(presses != 255)[:kept]
    given = np.array([x[at - motion.WINDOW + 1 : at + 1] for at in ends], np.float32)
    wanted = fit(config, tensors, (model.feed(given), presses[ends]), epochs=EPOCHS)
    same = (best, history) == (wanted.best, wanted.history) and all(
        (words[name] == values).all() for name, values in wanted.words.items())
    print(f"{kept} windows kept, {best} epochs of {', '.join(names)} on the board")
    print(f"as NumPy computes them: {'every bit' if same else 'NO'}")
    print(f"right, as the sensor was mounted: {before:.1%}")
    print(f"mounted anew, before: {right(model, *test):.1%}, after: {right(learned, *test):.1%}")


if __name__ == "__main__":
    main()
