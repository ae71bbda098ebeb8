"""`attn8 plan --train`: what training a model takes on a board, before there is one.

As for inference (see plan.py): the device's own Python trains here for one step, and its objects
are walked; its kernels run as the machine code of all chips.
"""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as from_bytes

from .. import layers, modelfile
from ..isa import ISAS
from ..layers.base import TOKENS
from ..link.protocol import EVALUATE, TRAIN
from ..model import load
from ..numerics.formats import FLOATS
from ..paths import MODELS
from ..train import session as train
from ..train.arithmetic import ratio
from .inference import CLOCKS, Config, Model, Plan, Tensors, loaded, plan


@dataclass
class Cost:
    """Instructions on one chip: the kernels' counted, the calls between them estimated."""

    forward_per_mac: float  # of the kernels alone
    backward_per_mac: float
    forward: int  # of one sample, with its loss and the calls
    backward: int  # of one sample
    update: int  # of a batch: clipping and optimizer
    step: int  # of a batch, all of it
    cycles: int  # of a step, by a model of the core's pipeline (isa.pipeline)
    milliseconds: dict[str, float]  # of a step, predicted at each clock


@dataclass
class TrainPlan:
    """What training takes; the keys of the JSON. Sizes in bytes."""

    memory: Plan
    attention: dict[str, int]  # arrays of each attention layer, by its type's formula
    recompute_ram: int | None  # the model's RAM with attention weights computed again
    batch: int
    cost: dict[str, Cost]  # by chip; empty for floats, which no emulator counts

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def training(
    what: str | None, path: Path | None, sizes: tuple[int, int, int], numbers: str,
    kind: str = "attention",
) -> Model:
    """The config and the parameters, in words, of what is to be trained.

    Args:
        what: "iris" or "digits", as `attn8 train` trains them, or None.
        path: of a training file (see train.py), or None.
        sizes: of one layer, where both are None: seq_len, embed_dim, num_heads or projection_dim.
        numbers: the format, where no file says it.
        kind: of that layer, "attention" or "self_attention_1d".
    """
    if path is not None:
        config, tensors = modelfile.read(path, "attn8-train")
        return _local(config, path.parent), tensors
    if what == "digits":
        base = load(MODELS / "digits.safetensors")
        config = _local(train.digits_config(base, "digits.safetensors", 20, 10), MODELS)
        _, tensors = modelfile.read(MODELS / "digits_float.safetensors")
    elif what == "iris":
        config = train.iris_config(numbers, 240, 10)
        tensors = train.initial(config, np.random.default_rng(1))
    else:
        config = layer_config(kind, sizes, numbers)
        tensors = train.initial(config, np.random.default_rng(1))
    names = {entry["name"] for entry in config["layers"]}
    tensors = {key: value for key, value in tensors.items() if key.split(".")[0] in names}
    return config, from_bytes(train.pack(config, tensors))


def layer_config(kind: str, sizes: tuple[int, int, int], numbers: str) -> Config:
    """The config of one layer that trains."""
    own = layers.get(kind).training_fields or {}
    entry = {"type": kind, "name": "attn", **dict(zip(own, sizes, strict=True))}
    return {
        "format": "attn8-train", "version": 1, "numbers": numbers,
        "name": f"{kind} {' x '.join(map(str, sizes))}",
        "input": {"size": sizes[0] * sizes[1]},
        "layers": [entry],
        "loss": "mse", "optimizer": {"type": "sgd", "lr": ratio(0.01)}, "batch": 1,
    }  # fmt: skip


def _local(config: Config, folder: Path) -> Config:
    """The config with the int8 models that it names in a folder of this computer."""
    for entry in [config, *config["layers"]]:
        for key in ("model", "int8"):
            if key in entry:
                entry[key] = str(folder / Path(entry[key]).name)
    return config


def train_plan(
    config: Config, tensors: Tensors, backend: str = "turbo", word: int = 4,
    arches: Iterable[str] = ISAS,
) -> TrainPlan:
    """Plans the training of a model.

    Args:
        config, tensors: as in its training file.
        backend: the kernels of int8 layers before those that train, "turbo" or "viper".
        word: bytes of the board's word, 4 on a chip, 8 on the unix port.
        arches: for which instructions are counted; those of floats cannot be.

    Raises:
        Attn8Error: the device refuses the model.
    """

    def memory(config: Config) -> Plan:
        return plan(config, tensors, backend=backend, word=word, predicted=lambda: (0, 0),
                    settle=lambda trainer: run(trainer, TRAIN, 1))

    def saving(entry: dict[str, Any]) -> dict[str, Any]:
        """The entry with what it computes again instead of keeping, where its type can."""
        can = "recompute" in layers.get(entry["type"]).training_optional
        return {**entry, "recompute": True} if can else entry

    entries = [saving(entry) for entry in config["layers"]]
    planned = memory(config)
    other = memory({**config, "layers": entries}).ram if entries != config["layers"] else None
    attention = {}
    itemsize = 8 if config["numbers"] == "double" else 4
    for entry in entries:
        for again in (False, True) if "recompute" in entry else (False,):
            words = layers.get(entry["type"]).training_words({**entry, "recompute": again})
            if words is not None:
                attention[f"{entry['name']}{', recompute' if again else ''}"] = itemsize * words
    if config["numbers"] in FLOATS:
        arches = ()
    return TrainPlan(planned, attention, other, config["batch"],
                     {arch: cost(config, tensors, arch, backend) for arch in arches})


def alone(config: Config, tensors: Tensors, word: int = 4) -> Plan:
    """What attn8.train.fit takes on a board without a host, once the layers before those that train
    have made their features (device/attn8/train/features.py), with the names and the machine code's
    modules that these leave; while they do, no more than inference takes is there.

    Args:
        config: of a training file with `recompute`, whose first layer is the front of the others.
        tensors, word: as train_plan takes them.
    """
    about = config["input"]
    sample = array("h" if about.get("format") == TOKENS else "b", [0] * about["size"])
    if "tokens" in about:
        sample.append(about["tokens"])
    return plan(config, tensors, word=word, predicted=lambda: (0, 0), given=[(sample, 0)],
                settle=fit_one)


def fit_one(trainer: Any) -> None:
    """Has the device's trainer of a board alone train with a sample of zeros, label 0."""
    model = trainer.model
    x = array(trainer.code, bytes(model.input_size * array(trainer.code).itemsize))
    if model._tokens is not None:
        x[-1] = model._tokens
    model.measure(model(x), array("h", [0]) * model.labels)
    model.backward()
    model.step()


def run(trainer: Any, command: int, samples: int) -> None:
    """Has the device's trainer evaluate or train with some samples of small numbers, or of
    token 0, label 0."""
    model = trainer.model
    one = [(i * 40503 & 65535) - 32768 >> 8 for i in range(model.input_size)]
    if trainer.code == "h":  # ids of a vocabulary
        one = [0] * len(one)
    if model._tokens is not None:  # the last word is a length
        one[-1] = model._tokens
    words = [command, samples] + samples * (one + [0] * model.target_size)
    f = model.f
    words += [0] * (len(trainer.input) // array(f.typecode).itemsize - len(words))
    trainer.input[:] = bytes(array(f.typecode, words))
    trainer()


def cost(config: Config, tensors: Tensors, arch: str, backend: str) -> Cost:
    """Counts one step with a batch of one sample."""
    trainer, device, _ = loaded(config, modelfile.pack(config, tensors), arch, backend)
    products: Any = device.load("attn8.forms").choose("fixed_product")
    matmul, macs = products.matmul, 0

    def watched(*arguments: Any) -> None:
        nonlocal macs
        rows, inner, cols = (arguments[8][i] for i in (0, 1, 8))
        macs += rows * inner * cols
        matmul(*arguments)

    products.matmul = watched

    def count(function: Callable[..., object], *arguments: object) -> np.ndarray:
        nonlocal macs
        macs = 0
        tally.count(function, *arguments)
        return found()

    tally, model = device.tally, trainer.model
    step, update = model.step, np.zeros(4)

    def found() -> np.ndarray:
        return np.array([tally.instructions, sum(tally.counted.values()), macs, tally.cycles])

    def watched_step() -> None:
        nonlocal update
        before = found()
        step()
        update = found() - before

    model.step = watched_step
    run(trainer, TRAIN, 1)  # what the first step alone does is not counted
    forward = count(run, trainer, EVALUATE, 1)
    backward = count(run, trainer, TRAIN, 1) - forward - update
    all_of_it, cycles = (
        int(config["batch"] * (forward[i] + backward[i]) + update[i]) for i in (0, 3)
    )
    return Cost(
        forward_per_mac=round(float(forward[1] / forward[2]), 2),
        backward_per_mac=round(float(backward[1] / backward[2]), 2),
        forward=int(forward[0]),
        backward=int(backward[0]),
        update=int(update[0]),
        step=all_of_it,
        cycles=cycles,
        milliseconds={f"{mhz} MHz": round(cycles / mhz / 1000, 2) for mhz in CLOCKS},
    )
