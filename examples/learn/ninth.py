"""A board that knows eight speakers learns a ninth by itself, from 20 utterances.

    python examples/learn/ninth.py japanese_vowels.npz
    python examples/learn/ninth.py japanese_vowels.npz --board u0

The transformer of ../speakers.py is trained in PyTorch on the utterances of eight speakers, and put
onto the board in int8. There its head learns from 20 utterances of the ninth, beside ten of each
other one, so that these are not forgotten; the same fine-tuning in float64 in PyTorch is what the
result is compared with. All 370 test utterances are heard, before and after.
"""

import argparse
import ast
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.numpy import load as from_bytes
from torch import nn

import attn8_host
from attn8_host import modelfile
from attn8_host.boards import open_board
from attn8_host.deploy import deploy, push
from attn8_host.model import load
from attn8_host.quantize.file import quantize_file
from attn8_host.train import session, tune
from attn8_host.train.arithmetic import ONE
from attn8_host.train.fitting import fit, shuffle
from attn8_host.train.schedule import LinearSchedule

sys.path.insert(0, str(Path(__file__).parent.parent))
import speakers

NINTH, OWN, OTHERS = 8, 20, 10  # the label; utterances of it, and of each other speaker
EPOCHS, BATCH, RATE, SEED = 30, 10, 0.02, 1
MODEL, TRAINING, SAMPLES = (f"/models/ninth{part}" for part in (
    ".safetensors", "_train.safetensors", ".samples"))

COLLECT = """
from array import array
from attn8.train.samples import Samples
samples = Samples({samples!r}, {size})
samples.clear()
with open("/utterances", "rb") as file:
    x = array("b", bytes({size} - 1))
    tail = bytearray(2)
    while file.readinto(x) and file.readinto(tail):
        samples.append(x, tail[0], tail[1])
"""
FIT = """
from attn8 import train
from attn8.train.samples import Samples
print(repr(train.fit({training!r}, Samples({samples!r}, {size}), {epochs})))
"""


def chosen(labels):
    """The places of what the board has: of each speaker the first utterances."""
    return np.concatenate([np.flatnonzero(labels == speaker)[: OWN if speaker == NINTH else OTHERS]
                           for speaker in range(speakers.SPEAKERS)])


def accuracy(answers, labels):
    """Of all, and of the ninth."""
    right = np.asarray(answers) == labels
    return f"{right.mean():.2%} of all, {right[labels == NINTH].mean():.2%} of the ninth"


def in_floats(model, part, epochs):
    """Fine-tunes the head in float64, with the same samples in the same order and the same steps;
    the head's parameters are those of the epoch that is best on the validation samples."""
    features = [None]
    model.head.register_forward_pre_hook(lambda _, given: features.__setitem__(0, given[0]))
    windows, lengths, labels = part
    with torch.no_grad():
        model(windows, speakers.padding(lengths))
    x, head = features[0].double(), model.head.double()
    n = len(x)
    held, order = n // 5, np.arange(n)
    state = shuffle(order, 0, SEED)
    steps = epochs * -(-(n - held) // BATCH)
    schedule = LinearSchedule(**session.schedule(steps))
    optimizer = torch.optim.SGD(head.parameters(), RATE, momentum=0.9)
    loss = nn.CrossEntropyLoss(reduction="sum")

    def seen():
        with torch.no_grad():
            return float(loss(head(x[order[:held]]), labels[order[:held]]))

    least, best, kept, step = seen(), 0, [p.detach().clone() for p in head.parameters()], 0
    for epoch in range(1, epochs + 1):
        state = shuffle(order, held, state)
        for some in np.split(order[held:], range(BATCH, n - held, BATCH)):
            optimizer.zero_grad()
            loss(head(x[some]), labels[some]).backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            # As torch's momentum takes no rate into the velocity, nor does the board's
            optimizer.param_groups[0]["lr"] = RATE * schedule(step) / ONE
            optimizer.step()
            step += 1
        if seen() < least:
            least, best, kept = seen(), epoch, [p.detach().clone() for p in head.parameters()]
        elif epoch - best >= 3:
            break
    with torch.no_grad():
        for p, values in zip(head.parameters(), kept, strict=True):
            p.copy_(values)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="japanese_vowels.npz")
    parser.add_argument("--board", default="virtual", help="as attn8's (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = speakers.read(arguments.data)
    known = data["train"][2] != NINTH
    model = speakers.train("encoder", *(values[known] for values in data["train"]))
    windows, lengths, labels = data["test"]
    some = chosen(data["train"][2].numpy())
    part = tuple(values[some] for values in data["train"])
    # Words of the virtual board have 64 bits, so that objects take twice a chip's memory
    with TemporaryDirectory() as name, open_board(arguments.board, heap="240K") as board:
        folder = Path(name)
        example = windows[:1], speakers.padding(torch.tensor([speakers.FRAMES]))
        modelfile.write(folder / "float", *attn8_host.from_torch(model, example, name="ninth"))
        np.save(folder / "x.npy", data["train"][0][known].numpy())
        np.save(folder / "n.npy", data["train"][1][known].numpy())
        quantize_file(folder / "float", folder / "x.npy", folder / "int8",
                      lengths=folder / "n.npy")
        base = load(folder / "int8", False)
        fed = tune.rows(base.feed(part[0].numpy()), part[1].tolist(), base)
        spoken = part[2].numpy()
        config, tensors, _ = tune.prepare(base, "head", MODEL, BATCH, "sgd", RATE)
        deploy(board)
        push(board, MODEL, (folder / "int8").read_bytes())
        push(board, TRAINING, session.pack(config, tensors))
        push(board, "/utterances", np.column_stack(
            [fed[:, :-1].astype(np.uint8), spoken.astype(np.uint8), fed[:, -1].astype(np.uint8)],
        ).tobytes())
        size = fed.shape[1]
        board.enter_repl()
        board.execute(COLLECT.format(samples=SAMPLES, size=size))
        board.enter_repl()
        best, history = ast.literal_eval(board.execute(
            FIT.format(training=TRAINING, samples=SAMPLES, size=size, epochs=EPOCHS)))
        (folder / "new").write_bytes(board.read_file(MODEL))
        words = from_bytes(board.read_file(TRAINING))
        learned = load(folder / "new", False)
    wanted = fit(config, tensors, (fed, spoken), base, epochs=EPOCHS)
    same = (best, history) == (wanted.best, wanted.history) and all(
        (words[name] == values).all() for name, values in wanted.words.items())

    def heard(int8):
        tests = tune.rows(int8.feed(windows.numpy()), lengths.tolist(), int8)
        return [int(int8(row[:-1].astype(np.int8), int(row[-1]))["head"].argmax())
                for row in tests]

    head = model.head
    model.head = nn.Identity()
    with torch.no_grad():
        pooled = model(windows, speakers.padding(lengths)).double()
    model.head = head
    before = head(pooled.float()).argmax(dim=1).numpy()
    epochs = in_floats(model, part, EPOCHS)
    after = model.head(pooled).argmax(dim=1).numpy()
    truth = labels.numpy()
    print(f"the board learned from {len(spoken)} utterances, {OWN} of them the ninth speaker's: "
          f"{len(history)} epochs, of which it kept number {best}")
    print(f"as NumPy computes them: {'every bit' if same else 'NO'}")
    print(f"int8 on the board, before:  {accuracy(heard(base), truth)}")
    print(f"int8 on the board, after:   {accuracy(heard(learned), truth)}")
    print(f"PyTorch in float, before:   {accuracy(before, truth)}")
    print(f"PyTorch in float64, after:  {accuracy(after, truth)} (epoch {epochs})")


if __name__ == "__main__":
    main()
