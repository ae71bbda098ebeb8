"""`attn8 train`: trains a model on a board, batch by batch over the link, and proves every step.

A training file is a safetensors file like a model's (see modelfile.py) with format "attn8-train":
its config names the numbers (NUMBERS), the layers, the loss, the optimizer and the batch, and how
many of its samples a board holds at a time (`held`, by default all); its tensors are the parameters
in words of that format. The board saves to the same file.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from .. import layers, modelfile
from ..boards import Board
from ..deploy import OWN_MODELS, deploy, push
from ..errors import Attn8Error
from ..interrupts import uninterrupted
from ..layers.base import TOKENS
from ..link import Client
from ..link.client import run_digest
from ..link.protocol import ACCUMULATE, CALIBRATE, EVALUATE, OUTPUTS, QUANTIZE, SAVE, TRAIN
from ..model import Model as Base
from ..model import load
from ..numerics.formats import FLOATS
from ..paths import MODELS
from ..proof.compare import verify
from . import arithmetic as formats
from .arithmetic import ratio
from .model import Model

NUMBERS = ("Q16.16", "Q24.8", "Q8.8", *FLOATS)


@dataclass(kw_only=True)
class Epoch:
    """What one pass over the training data gave on the board."""

    loss: float  # mean
    overflows: int  # values that saturated, since the beginning


@dataclass(kw_only=True)
class Trained:
    """What any training found."""

    board: dict[str, Any]
    model: str
    epochs: int
    steps: int
    batch: int
    device_us_per_step: float  # median, a whole batch forwards and backwards and the update
    bit_exact: bool | None  # every parameter, loss and output of every step; None for floats
    overflows: int  # values that saturated, in all steps
    ram_bytes: int  # Python heap that the model takes: code, parameters, gradients, all buffers
    history: Sequence[Epoch]

    @property
    def overflows_grow(self) -> bool:
        """Whether values still saturated in the last epoch: its steps were too large."""
        counts = [0, *(epoch.overflows for epoch in self.history)]
        return counts[-1] > counts[-2]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "overflows_grow": self.overflows_grow}


@dataclass(kw_only=True)
class ComparedEpoch(Epoch):
    """The same beside a training in float64, on the same data in the same order."""

    accuracy: float  # of the training data, as it was trained
    test_accuracy: float
    float64_loss: float
    float64_test_accuracy: float


@dataclass(kw_only=True)
class Outcome(Trained):
    """What `attn8 train iris` found; the keys of its JSON."""

    numbers: str
    test_accuracy: float  # of the board, after a reset, with the saved parameters
    float64_test_accuracy: float
    history: list[ComparedEpoch]


def total_steps(samples: int, epochs: int, batch: int) -> int:
    """Steps of all epochs, whole batches only.

    Raises:
        Attn8Error: there are none, or more than a schedule counts.
    """
    if not 1 <= batch <= samples:
        raise Attn8Error(f"batch: expected 1 to {samples} samples, got {batch}")
    steps = samples // batch
    if not 1 <= epochs * steps < 1 << 15:
        raise Attn8Error(f"epochs: expected 1 to {((1 << 15) - 1) // steps}, got {epochs}")
    return epochs * steps


def schedule(steps: int) -> dict[str, int]:
    """The learning rate's (see reference/train/schedule.py)."""
    return {"warmup_steps": min(5, steps - 1), "total_steps": steps}


def iris_config(numbers: str, steps: int, batch: int) -> dict[str, Any]:
    """The tiny transformer: Dense 4 -> 32, ReLU, [4, 8], attention, mean, Dense 8 -> 3."""
    size = {"seq_len": 4, "embed_dim": 8}
    return {
        "format": "attn8-train",
        "version": 1,
        "name": "iris",
        "numbers": numbers,
        "input": {"size": 4},
        "layers": [
            {"type": "dense", "name": "embed", "in_features": 4, "out_features": 32},
            {"type": "relu", "name": "relu"},
            {"type": "attention", "name": "attn", "num_heads": 2, "recompute": False, **size},
            {"type": "mean_pool", "name": "pool", **size},
            {"type": "dense", "name": "head", "in_features": 8, "out_features": 3},
        ],
        "loss": "cross_entropy",
        "optimizer": {"type": "sgd", "lr": ratio(0.02), "momentum": ratio(0.9)},
        "clip_norm": 1.0,
        "schedule": schedule(steps),
        "batch": batch,
    }


def initial(config: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Parameters to start from: uniform within 1/sqrt(inputs), biases 0, in float64."""
    return {
        f"{entry['name']}.{part}": values
        for entry in config["layers"]
        for part, values in layers.get(entry["type"]).initial(entry, rng).items()
    }


def pack(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    """A training file with these float parameters."""
    if config["numbers"] in FLOATS:
        dtype = FLOATS[config["numbers"]]
        words = {name: values.astype(dtype) for name, values in tensors.items()}
    else:
        f = formats.get(config["numbers"])
        words = {name: f.array(values).astype(np.int32) for name, values in tensors.items()}
    return modelfile.pack(config, words)


def to_words(
    config: dict[str, Any], f: Any, base: Base | None
) -> Callable[[np.ndarray], np.ndarray]:
    """What makes words of a sample: of floats, of int8 that stand for their scale, or of integers
    that a model in int8 takes as they are, or token ids."""
    mult = config["input"].get("mult")
    size = config["input"]["size"]
    if mult:  # not of a length behind them
        return lambda x: np.append((x[:size].astype(np.int64) * mult + 128) >> 8, x[size:])
    whole = base is not None or config["input"].get("format") == TOKENS
    return (lambda x: x.astype(np.int64)) if whole else f.array


class Training:
    """A model on the board, followed by the reference and by the same model in float64.

    Args:
        client: the link to a board that has loaded the training file.
        config, tensors: what the file holds, the parameters in float64.
        base: the int8 model whose first layers come before those that train, where they do; the
            inputs are its integers then.
    """

    def __init__(
        self, client: Client, config: dict[str, Any], tensors: dict[str, np.ndarray],
        base: Base | None = None,
    ):
        self.client = client
        self.batch = config["batch"]
        self.held = config.get("held", self.batch)
        self.exact = Model(config, tensors, "float64", base)
        fixed = config["numbers"] not in FLOATS
        self.reference = Model(config, tensors, base=base) if fixed else None
        self.f = (self.reference or self.exact).f
        self._words = to_words(config, self.f, base)
        self.dtype = client.outputs[0].dtype
        self.bit_exact = None if self.reference is None else True
        self.microseconds: list[int] = []
        self.overflows = 0
        self._digest = 0
        self._expected = {o.name: np.zeros(o.size, o.dtype) for o in client.outputs}

    def run(self, command: int, x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Has the board evaluate or train a batch; returns its losses [n] and outputs [n, m].

        As many samples go there at a time as the board holds.
        """
        if command == TRAIN:
            self.microseconds.append(0)
        losses, outputs = [], []
        for i in range(0, len(x), self.held):
            part = slice(i, i + self.held)
            last = part.stop >= len(x)
            found = self._run(command if last or command != TRAIN else ACCUMULATE, x[part],
                              labels[part])
            losses.append(found[0])
            outputs.append(found[1])
        return np.concatenate(losses), np.concatenate(outputs)

    def _run(self, command: int, x: np.ndarray, labels: np.ndarray
             ) -> tuple[np.ndarray, np.ndarray]:
        n = len(x)
        samples = [np.append(self._words(v), label) for v, label in zip(x, labels, strict=True)]
        words = np.concatenate([[command, n], *samples]).astype(self.dtype)
        microseconds = self.client.run(words.tobytes())
        if command in (TRAIN, ACCUMULATE):
            self.microseconds[-1] += microseconds
        if self.reference:
            self._compare(self.reference, command, x, labels)
        sizes = [o.size for o in self.client.outputs[:3]]
        data = self.client.read(OUTPUTS, self.dtype.itemsize * sum(sizes))
        losses, outputs, state = np.split(np.frombuffer(data, self.dtype), np.cumsum(sizes)[:2])
        self.overflows = int(state[1])
        return self.f.floats(losses[:n]), outputs.reshape(self.held, -1)[:n]

    def _compare(self, model: Model, command: int, x: np.ndarray, labels: np.ndarray) -> None:
        """Does what the board did in the reference; every tensor is in the digest."""
        expected = self._expected
        outputs = expected["predictions"].reshape(self.held, -1)
        for i, (value, label) in enumerate(zip(x, labels, strict=True)):
            outputs[i] = model(self._words(value))
            expected["losses"][i] = model.loss(outputs[i].astype(np.int64), label)
            if command in (TRAIN, ACCUMULATE):
                model.backward()
        if command == TRAIN:
            model.step()
        expected["state"][:] = model.steps, model.f.overflows
        for p in model.params:
            expected[p.name][:] = p.value.ravel()
        self._digest = run_digest(expected, self._digest)
        self.bit_exact = self.bit_exact and self._digest == self.client.digest

    def evaluate(self, x: np.ndarray, labels: np.ndarray) -> float:
        """The board's accuracy."""
        hits = 0
        for i in range(0, len(x), self.batch):
            part = slice(i, i + self.batch)
            _, outputs = self.run(EVALUATE, x[part], labels[part])
            hits += int((outputs.argmax(axis=1) == labels[part]).sum())
        return hits / len(x)

    def epoch(
        self, x: np.ndarray, labels: np.ndarray, test_x: np.ndarray, test_labels: np.ndarray,
        order: np.ndarray, advance: Callable[[], object],
    ) -> ComparedEpoch:
        """Trains once with the samples in this order; whole batches only."""
        losses: list[float] = []
        exact_losses: list[float] = []
        hits = 0
        for batch in order.reshape(-1, self.batch):
            found, outputs = self.run(TRAIN, x[batch], labels[batch])
            losses += found.tolist()
            hits += int((outputs.argmax(axis=1) == labels[batch]).sum())
            exact_losses += [self.exact.accumulate(x[i], int(labels[i])) for i in batch]
            self.exact.step()
            advance()
        right = [self.exact(v).argmax() == y for v, y in zip(test_x, test_labels, strict=True)]
        return ComparedEpoch(
            loss=float(np.mean(losses)),
            accuracy=hits / order.size,
            test_accuracy=self.evaluate(test_x, test_labels),
            float64_loss=float(np.mean(exact_losses)),
            float64_test_accuracy=float(np.mean(right)),
            overflows=self.overflows,
        )


@contextmanager
def placed(board: Board, path: str, data: bytes) -> Iterator[None]:
    """A file on a board that is freshly started, until the block has ended, however it does."""
    push(board, path, data)
    try:
        board.enter_repl()
        yield
    finally:
        with uninterrupted(), suppress(Attn8Error):  # of a board that is gone
            board.execute(f"import os\nos.remove({path!r})")


def _load(client: Client, path: str) -> int:
    """Loads a training file; returns the bytes of heap that it takes, imported code included."""
    used = client.heap()[1]
    client.load(path, training=True)
    return client.heap()[1] - used


def iris(
    board: Board,
    numbers: str = "Q16.16",
    epochs: int = 20,
    batch: int = 10,
    seed: int = 1,
    advance: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Outcome:
    """Trains the iris classifier from scratch on a board.

    Args:
        board: any; the package and the training file are put onto it.
        numbers: the format.
        epochs, batch, seed: of the training.
        advance: called with what comes next, what is done and all there is to do.

    Raises:
        Attn8Error: the board fails, or an argument makes no sense.
    """
    data = load_file(MODELS / "iris_data.safetensors")
    x, labels, test_x, test_labels = (
        data[key] for key in ("train.x", "train.label", "test.x", "test.label")
    )
    mean, spread = x.mean(axis=0), x.std(axis=0)
    x, test_x = (x - mean) / spread, (test_x - mean) / spread
    if numbers not in NUMBERS:
        raise Attn8Error(f"no such numbers: {numbers}; expected {', '.join(NUMBERS)}")
    total = total_steps(len(x), epochs, batch)
    config = iris_config(numbers, total, batch)
    rng = np.random.default_rng(seed)
    tensors = initial(config, rng)
    path = f"{OWN_MODELS}/iris.safetensors"

    deploy(board, progress=lambda done, total: advance("package to the board (bytes)", done, total))
    push(board, path, pack(config, tensors))
    board.enter_repl()
    history = []
    with board.serve() as client:
        ram = _load(client, path)
        training = Training(client, config, tensors)
        for _ in range(epochs):
            order = rng.permutation(len(x))[: total // epochs * batch]
            history.append(training.epoch(
                x, labels, test_x, test_labels, order,
                lambda: advance("training (steps)", len(training.microseconds), total),
            ))
        client.run(np.array([SAVE, 0], training.dtype).tobytes())
    board.enter_repl()  # a soft reset: what is evaluated now comes from the file
    trained = training.reference or training.exact
    tensors = {p.name: trained.f.floats(p.value) for p in trained.params}
    with board.serve() as client:
        client.load(path, training=True)
        reloaded = Training(client, config, tensors)
        accuracy = reloaded.evaluate(test_x, test_labels)
    return Outcome(
        board=board.info.as_dict(),
        model="iris",
        numbers=numbers,
        test_accuracy=accuracy,
        float64_test_accuracy=history[-1].float64_test_accuracy,
        epochs=epochs,
        steps=total,
        batch=batch,
        device_us_per_step=statistics.median(training.microseconds),
        bit_exact=training.bit_exact and reloaded.bit_exact,
        overflows=training.overflows,
        ram_bytes=ram,
        history=history,
    )


@dataclass(kw_only=True)
class TuneOutcome(Trained):
    """What `attn8 train digits` found; the keys of its JSON. bit_exact: int8 inference as well."""

    shift: str
    accuracy_before: float  # int8 on the board, on the shifted test digits
    accuracy_after: float  # the same with the weights that the board trained and quantized
    shifted_before: float  # of the shifted ones among them
    shifted_after: float


SHIFTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "invert": lambda images: 16 - images,
    "rotate": lambda images: np.rot90(images.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64),
}


def digits_config(base: Base, path: str, steps: int, batch: int) -> dict[str, Any]:
    """Trains the attention and the head of the digits model, behind its first int8 layers.

    SGD, as Adam's two moments would take 5 KB more of the 100 KB that an ESP32 has; a sample is
    held at a time.
    """
    size = {"seq_len": 8, "embed_dim": 16}
    scale = next(entry["scale"] for entry in base.config["layers"] if entry["name"] == "relu")
    return {
        "format": "attn8-train",
        "version": 1,
        "name": "digits",
        "numbers": "Q16.16",
        "input": {"size": 64},
        "layers": [
            {"type": "front", "name": "front", "model": path, "count": 2, "last": "relu",
             "mult": round(scale * 2**24)},
            {"type": "attention", "name": "attn", "num_heads": 2, "recompute": False, **size},
            {"type": "mean_pool", "name": "pool", **size},
            {"type": "dense", "name": "head", "in_features": 16, "out_features": 10},
        ],
        "loss": "cross_entropy",
        "optimizer": {"type": "sgd", "lr": ratio(0.06), "momentum": ratio(0.9)},
        "clip_norm": 1.0,
        "schedule": schedule(steps),
        "batch": batch,
        "held": 1,
        "int8": path,
    }


def digits(
    board: Board,
    shift: str = "invert",
    epochs: int = 3,
    batch: int = 10,
    seed: int = 1,
    advance: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> TuneOutcome:
    """Fine-tunes the digits model on a board whose world has changed, and quantizes it there.

    A tenth of the test digits is shifted (inverted or turned). The board trains the attention and
    the head with 300 other digits, each as it is and shifted, measures the activations, writes new
    int8 weights into the model file, restarts, and runs that model.

    Args:
        board: any; the package and the models are put onto it.
        shift: a key of SHIFTS.
        epochs, batch, seed: of the training.
        advance: called with what comes next, what is done and all there is to do.
    """
    rng = np.random.default_rng(seed)
    base = load(MODELS / "digits.safetensors")
    data = load_file(MODELS / "digits_data.safetensors")
    test, labels = data["test.images"].astype(np.int64), data["test.labels"]
    moved = rng.permutation(len(test))[: len(test) // 10]
    test[moved] = SHIFTS[shift](test[moved])
    images = data["calibration.images"].astype(np.int64)
    images = np.concatenate([images, SHIFTS[shift](images)])
    targets = np.tile(data["calibration.labels"], 2)
    x, test_x = (7 * images).astype(np.int8), (7 * test).astype(np.int8)  # see demo.py

    path, training_path = (f"{OWN_MODELS}/{name}.safetensors" for name in ("tuned", "tune"))
    total = total_steps(len(x), epochs, batch)
    config = digits_config(base, path, total, batch)
    _, tensors = modelfile.read(MODELS / "digits_float.safetensors")
    tensors = {n: t.astype(float) for n, t in tensors.items() if not n.startswith("embed.")}
    deploy(board, progress=lambda done, total: advance("package to the board (bytes)", done, total))
    push(board, path, (MODELS / "digits.safetensors").read_bytes())

    def infer(model: Base, what: str) -> tuple[float, float, bool]:
        board.enter_repl()
        with board.serve() as client:
            client.load(path)
            count = iter(range(1, len(test_x) + 1))
            found = verify(client, model, test_x, lambda: advance(what, next(count), len(test_x)))
        right = np.array([o["head"].argmax() for o in found.outputs]) == labels
        return float(right.mean()), float(right[moved].mean()), found.bit_exact

    before, shifted_before, exact_before = infer(base, "int8 before (digits)")
    history = []
    with placed(board, training_path, pack(config, tensors)), board.serve() as client:
        ram = _load(client, training_path)
        training = Training(client, config, tensors, base)
        for _ in range(epochs):
            order = rng.permutation(len(x))[: total // epochs * batch].reshape(-1, batch)
            found = []
            for chosen in order:
                found.append(training.run(TRAIN, x[chosen], targets[chosen])[0].mean())
                done = len(training.microseconds)
                advance("training (steps)", done, total)
            loss = float(np.mean(found))
            history.append(Epoch(loss=loss, overflows=training.overflows))
        for i in range(0, len(x), 6 * batch):
            training.run(CALIBRATE, x[i : i + batch], targets[i : i + batch])
        client.run(np.array([QUANTIZE, 0], training.dtype).tobytes())
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "tuned.safetensors"
        copy.write_bytes(board.read_file(path))
        tuned = load(copy)
    after, shifted_after, exact_after = infer(tuned, "int8 after (digits)")
    return TuneOutcome(
        board=board.info.as_dict(),
        model="digits",
        shift=shift,
        accuracy_before=before,
        accuracy_after=after,
        shifted_before=shifted_before,
        shifted_after=shifted_after,
        epochs=epochs,
        steps=total,
        batch=batch,
        device_us_per_step=statistics.median(training.microseconds),
        bit_exact=bool(training.bit_exact) and exact_before and exact_after,
        overflows=training.overflows,
        ram_bytes=ram,
        history=history,
    )
