"""`attn8 train MODEL DATA`: trains the last layers of an int8 model on a board, with any samples.

The layers before them run in int8 (see layers.front). Every step is compared with NumPy; the
parameters of the epoch with the least validation loss become int8 again on the board, in a copy of
the model's file there, which comes back.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import load as from_bytes

from .. import inputs, layers, modelfile
from ..boards import Board
from ..deploy import OWN_MODELS, deploy, push
from ..errors import Attn8Error, ModelError, RemoteError
from ..layers.base import INT8, INT16, TOKENS
from ..link.protocol import CALIBRATE, EVALUATE, QUANTIZE, TRAIN
from ..model import Model, load
from ..numerics.formats import FIXED, FLOATS, Format
from ..plan.inference import Plan
from ..plan.training import alone, train_plan
from ..proof.compare import Verification, verify
from .arithmetic import ratio
from .losses import token_labels
from .memory import saving
from .session import Epoch, Trained, Training, pack, placed, schedule, total_steps

VALIDATION = 5  # one sample of so many
CALIBRATION = 100  # samples, at most, that new ranges of activations are taken of
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"type": "sgd", "momentum": ratio(0.9)},
    "adam": {"type": "adam", "beta1": ratio(0.9), "beta2": ratio(0.999), "eps": ratio(0.001)},
}
RATES = {"sgd": 0.02, "adam": 0.005}  # learning rates, by default
MOST_RATES = {"sgd": 1, "adam": 0.031}  # within which fixed point has the constants
MOST = 1 << 14  # of Q16.16, in which layers train
NORMAL = 2.0**-7  # what a step of an int8 input stands for where all layers train
# Inputs as `rows` gives them, and labels [samples], or [samples, tokens] and -1 where there is none
Samples = tuple[np.ndarray, np.ndarray]


@dataclass(kw_only=True)
class TunedEpoch(Epoch):
    """The same with what it gave on samples that do not train."""

    accuracy: float  # of the training samples, as they were trained
    validation_loss: float
    validation_accuracy: float


@dataclass(kw_only=True)
class Tuned(Trained):
    """What `attn8 train MODEL` found; the keys of its JSON. bit_exact: int8 inference as well."""

    layers: list[str]  # that trained
    samples: int
    validation: int  # of them
    best_epoch: int  # whose parameters were kept, from 1; 0 where the old ones are no worse
    validation_loss_before: float
    accuracy_before: float  # int8 on the board, of the validation samples
    accuracy_after: float
    clipped: list[str]  # layers that outgrew an int16 scale which frozen layers have, too
    large: list[str]  # layers that are clipped as no scale expresses their weight
    history: list[TunedEpoch]


def read(path: Path, model: Model) -> Samples:
    """Samples of a .npz with the arrays `inputs` and `labels`, and `lengths` where there are some.

    A model that gives each token its own values has a label a token; one of token ids that gives as
    many values as it has ids takes the next id for it, where there are no `labels`.

    Raises:
        ModelError: it cannot be read, does not fit the model, or has samples of one class alone.
    """
    x = inputs.read(path, model.config)
    names = inputs.arrays(path)
    if not names:
        raise ModelError(f"{path}: it is one array; give a .npz with the arrays inputs and labels")
    lengths = inputs.read_lengths(path if "lengths" in names else None, model.config, len(x))
    tokens = labelled(model)
    given = rows(inputs.integers(x, model), lengths, model)
    if tokens == 1:
        labels = inputs.read_labels(path, len(x), model.output_size)
    else:
        found = None
        if "labels" in names or not writes(model):
            found = inputs.read_token_labels(path, len(x), tokens, model.output_size // tokens)
        labels = token_labels(found, given, tokens, model.lengths.tokens)
    bare = np.flatnonzero((labels.reshape(len(x), -1) < 0).all(axis=1))
    if bare.size:
        raise ModelError(f"{path}: no token of sample {bare[0]} has a label")
    if len(x) < 2 * VALIDATION:
        raise ModelError(f"{path}: expected {2 * VALIDATION} samples at least, one of {VALIDATION} "
                         f"to validate with, got {len(x)}")
    seen = labels[labels >= 0]
    if (seen == seen[0]).all():
        raise ModelError(f"{path}: every sample is of class {seen[0]}, so that there is nothing "
                         "to tell apart; give samples of others, too")
    return given, labels


def labelled(model: Model) -> int:
    """How many labels a sample has: 1, or one of each token where the last layer gives each token
    values of its own."""
    entry = model.config["layers"][-1]
    kind = layers.get(entry["type"])
    tokens = entry.get(kind.token_field, 1) if kind.tokenwise and kind.token_field else 1
    return int(tokens)


def writes(model: Model) -> bool:
    """Whether it gives each token values for all ids that may come next."""
    first = model.config["layers"][0]
    return (labelled(model) == model.input_size and first["type"] == "embedding"
            and model.output_size == model.input_size * first["vocab_size"])


def hits(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many labels are the largest outputs, and how many there are, int64 [2].

    Args:
        outputs: [samples, values].
        labels: [samples], or [samples, tokens]; below 0 one does not count.
    """
    labels = labels.reshape(len(outputs), -1)
    found = outputs.reshape(*labels.shape, -1).argmax(axis=2)
    return np.array([(found == labels).sum(), (labels >= 0).sum()])


def rows(x: np.ndarray, lengths: Sequence[int | None], model: Model) -> np.ndarray:
    """int8 inputs or token ids [n, ...] as a board takes them one by one: [n, values], behind which
    comes the length where the model takes lengths."""
    flat = x.reshape(len(x), -1)
    most = model.lengths.tokens
    if most is None:
        return flat
    counts = [most if n is None else n for n in lengths]
    return np.column_stack([flat.astype(np.int16), np.array(counts, np.int16)])


def split(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """The places of the samples that validate, one of VALIDATION, and of those that train."""
    return np.split(rng.permutation(count), [count // VALIDATION])


def missing(labels: np.ndarray, classes: int) -> list[int]:
    """The classes that no label names."""
    return sorted(set(range(classes)) - set(labels.tolist()))


def training(
    base: Model, which: str, target: str
) -> tuple[dict[str, Any], dict[str, np.ndarray], list[str]]:
    """The config of a training file without what its steps need, its parameters in floats, and the
    layers that have them.

    Args:
        base: the int8 model.
        which: "head", "last:N" or "all": how many layers with parameters, from the end.
        target: of the int8 model, on the board.

    Raises:
        ModelError: a layer does not train, or there are not as many.
    """
    config = base.config
    about = config["input"]
    ids = about.get("format") == TOKENS
    if not ids and "scale" not in about:
        raise ModelError("it has no input scale: quantize it with samples")
    entries, sources = config["layers"], modelfile.inputs(config)
    kinds = [layers.get(entry["type"]) for entry in entries]
    own = [modelfile.parts(entry, kind.tensors(entry), base.tensors)
           for entry, kind in zip(entries, kinds, strict=True)]
    weighty = weights(base)
    count = {"head": 1, "all": len(weighty)}.get(which) or int(which.partition(":")[2])
    if not 1 <= count <= len(weighty):
        raise ModelError(f"--layers {which}: expected 1 to {len(weighty)}, the layers that have "
                         "parameters")
    first = 0 if which == "all" else weighty[-count]
    if kinds[weighty[0]].format_of(entries[weighty[0]]):  # what makes numbers of the input stays
        first = first or weighty[0]
    made: list[dict[str, Any]] = []
    names: list[str] = []
    tensors: dict[str, np.ndarray] = {}
    given = {"input": "input"}  # by layer: whose result stands for its own
    scales = {"input": 1.0 if ids else about["scale"] if first else NORMAL}
    for entry, kind in zip(entries[first:], kinds[first:], strict=True):
        if (form := kind.format_of(entry)) in FLOATS:
            raise ModelError(f"{entry['name']}: it computes in {form}, and what trains is fixed "
                             "point; quantize the float model in another --format")
    _require_cut(base, first, count)
    _require_owners(base, first)
    source: dict[str, Any] = {"size": base.input_size}
    if first:
        last, front = _front(base, first, target)
        made.append(front)
        given = {last: "front"}
    elif not ids:
        source["mult"] = round(NORMAL * 2**24)
    if ids:
        source["format"] = TOKENS
    if base.lengths.tokens is not None:
        source["tokens"] = base.lengths.tokens
    for i, (entry, kind) in enumerate(zip(entries, kinds, strict=True)):
        name, takes = entry["name"], sources[i]
        scales[name] = entry.get("scale", scales[takes[0]])
        if i < first:
            if not kind.computes and takes[0] in given:
                given[name] = given[takes[0]]
            continue
        if kind.computes:
            entry = kind.retrainable(entry, base.signals[takes[0]])
        fields, found = kind.retrained(entry, own[i], [scales[each] for each in takes])
        given[name] = name if fields else given[takes[0]]
        if fields:
            fields.pop("inputs", None)
            wanted = [given[each] for each in takes]
            if wanted != [made[-1]["name"] if made else "input"]:
                fields["inputs"] = wanted
            made.append(fields)
        if found:
            names.append(name)
        for part, values in found.items():
            if (peak := float(np.abs(values).max())) >= MOST:
                raise ModelError(f"{name}.{part}: it reaches {peak:.5g}, and what trains ends at "
                                 f"{MOST}; give fewer --layers")
            tensors[f"{name}.{part}"] = values
    each = {"labels": labelled(base)} if labelled(base) > 1 else {}
    return {
        "format": "attn8-train", "version": 1, "name": base.name, "numbers": "Q16.16",
        "input": source, "layers": made, "loss": "cross_entropy", "clip_norm": 1.0,
        "int8": target, **each,
    }, tensors, sorted(names)  # fmt: skip


def weights(base: Model) -> list[int]:
    """The places of the layers that have parameters."""
    return [i for i, entry in enumerate(base.config["layers"])
            if layers.get(entry["type"]).float_tensors(entry)]


def _front(base: Model, first: int, target: str) -> tuple[str, dict[str, Any]]:
    """The last of the layers before `first`, and the entry that stands for all of them."""
    entries = base.config["layers"]
    computing = [entry for entry in entries[:first] if layers.get(entry["type"]).computes]
    if not computing:
        return "input", {}
    last = computing[-1]["name"]
    form = base.signals[last].format
    if form in FIXED:
        scale = Format(form).step
    elif form in (INT8, INT16):
        scale = next(each["scale"] for each in reversed(entries[:first]) if "scale" in each)
    else:
        raise ModelError(f"{last}: it gives {form}, and what trains takes int8, int16 or fixed "
                         "point; give other --layers")
    front = {"type": "front", "name": "front", "model": target, "count": first, "last": last,
             "mult": round(scale * 2**24)}
    tokens = base.lengths.tokens
    if tokens is not None:
        front["lengths"] = [base.lengths.behind(last, n) or 0 for n in range(1, tokens + 1)]
    return last, front


def _require_cut(base: Model, first: int, count: int) -> None:
    """Raises ModelError where the layers from `first` on, with the last `count` parameters, take
    more than one result of those before."""
    entries, sources = base.config["layers"], modelfile.inputs(base.config)

    def past(first: int) -> list[tuple[str, str]]:
        """What takes a result from before the last one that lies before `first`, and which."""
        at = first - 1
        while at > 0 and not layers.get(entries[at]["type"]).computes:
            at -= 1
        before = {"input", *(entry["name"] for entry in entries[:at])} if first else set()
        return [(entry["name"], each) for entry, takes in zip(entries[first:], sources[first:],
                                                              strict=True)
                for each in takes if each in before]

    for name, each in past(first):
        found = weights(base)
        more = [n for n in range(count + 1, len(found) + 1) if not past(found[-n])]
        raise ModelError(f"{name}: it takes {each} as well, which does not train; give --layers "
                         + (f"last:{more[0]}" if more else "all"))


def _require_owners(base: Model, first: int) -> None:
    """Raises ModelError where a layer from `first` on has the weight of one before."""
    entries = base.config["layers"]
    places = {entry["name"]: i for i, entry in enumerate(entries)}
    for entry in entries[first:]:
        for tensor in layers.get(entry["type"]).tensors(entry).values():
            if tensor.owner is not None and places[tensor.owner] < first:
                more = sum(place >= places[tensor.owner] for place in weights(base))
                raise ModelError(f"{entry['name']}: it has the weight of {tensor.owner}, which does"
                                 f" not train; give --layers last:{more}")


def prepare(
    base: Model, which: str, target: str, batch: int, optimizer: str, rate: float | None = None,
    memory: str = "fast",
) -> tuple[dict[str, Any], dict[str, np.ndarray], list[str]]:
    """`training` with what its steps need but for a schedule; the arguments are those of `tune`.

    Raises:
        ModelError: the layers do not train.
        Attn8Error: there are no constants for the learning rate.
    """
    require_rate(optimizer, rate)
    config, tensors, names = training(base, which, target)
    config |= {"batch": batch, "held": 1,
               "optimizer": {**OPTIMIZERS[optimizer], "lr": ratio(rate or RATES[optimizer])}}
    return saving(config, memory), tensors, names


def require_rate(optimizer: str, rate: float | None) -> None:
    """Raises Attn8Error where there are no constants for a learning rate."""
    if (rate or 0) > MOST_RATES[optimizer]:
        raise Attn8Error(f"lr: expected at most {MOST_RATES[optimizer]:g} with {optimizer}, "
                         f"got {rate:g}")


def planned(
    base: Model, path: Path, which: str, batch: int, optimizer: str, memory: str = "fast"
) -> Plan:
    """What training takes on a chip; the arguments are those of `tune`."""
    config, tensors, _ = prepare(base, which, str(path), batch, optimizer, memory=memory)
    return train_plan(config, from_bytes(pack(config, tensors)), arches=()).memory


def planned_alone(base: Model, path: Path, which: str, optimizer: str, memory: str) -> Plan:
    """The same without a host, by attn8.train.fit, where frozen layers are let go: `memory` is not
    "fast", and `which` not "all"."""
    config, tensors, _ = prepare(base, which, str(path), 1, optimizer, memory=memory)
    return alone(config, from_bytes(pack(config, tensors)))


def most(base: Model, path: Path, batch: int, optimizer: str) -> str:
    """The most of the last layers that train and fit a chip by `planned`, where what is computed
    stays the same; else "head"."""
    found = "head"
    for n in range(1, len(weights(base)) + 1):
        which = "all" if n == len(weights(base)) else f"last:{n}"
        try:
            if not any(planned(base, path, which, batch, optimizer, "recompute").fits.values()):
                break
        except ModelError:  # one of them does not train, or the graph cannot be cut there
            continue
        found = "head" if n == 1 else which
    return found


def tune(
    board: Board, path: Path, base: Model, samples: Samples, output: Path, which: str = "head",
    epochs: int = 10, batch: int = 10, seed: int = 1, optimizer: str = "sgd",
    rate: float | None = None, patience: int = 3, memory: str = "fast",
    advance: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Tuned:
    """Trains on a board and writes the new int8 model.

    Args:
        board: any; the package, the model and the training file are put onto it.
        path: of the int8 model `base`, which stays as it is.
        samples: as `read` gives them.
        output: of the new model; it is there whole or not at all, and not where no epoch is better
            than the model as it was (`best_epoch` 0).
        which: the layers, see `training`.
        epochs, batch, seed: of the training.
        optimizer: of OPTIMIZERS.
        rate: the learning rate at its highest, by default that of RATES.
        patience: epochs without a lower validation loss after which it stops.
        memory: how it saves that of the board, of memory.CHOICES; with "direct" a batch is one
            sample.
        advance: called with what comes next, and behind a colon how that goes, what is done and all
            there is to do.

    Raises:
        Attn8Error: the board fails, values saturate, or an argument makes no sense.
    """
    rng = np.random.default_rng(seed)
    x, labels = samples
    held, kept = split(rng, len(x))
    batch = 1 if memory == "direct" else batch
    total = total_steps(len(kept), epochs, batch)
    steps = total // epochs
    target, training_path = (f"{OWN_MODELS}/{name}.safetensors" for name in ("tuned", "tune"))
    config, tensors, names = prepare(base, which, target, batch, optimizer, rate, memory)
    config["schedule"] = schedule(total)
    front = config["layers"][0]["type"] == "front"
    lengths = x[:, -1].tolist() if base.lengths.tokens else [None] * len(x)
    values = x[:, : base.input_size].astype(base.input_dtype)
    deploy(board, progress=lambda done, size: advance("package to the board (bytes)", done, size))
    push(board, target, path.read_bytes())

    def infer(model: Model, what: str) -> tuple[float, Verification]:
        board.enter_repl()
        with board.serve() as client:
            client.load(target, False)
            count = iter(range(1, len(held) + 1))
            found = verify(client, model, values[held],
                           lambda: advance(what, next(count), len(held)),
                           [lengths[i] for i in held])
        outputs = np.stack([each[model.output].ravel() for each in found.outputs])
        return float(np.divide(*hits(outputs, labels[held]))), found

    def parts(of: np.ndarray) -> Iterator[np.ndarray]:
        return (of[i : i + batch] for i in range(0, len(of), batch))

    def validate() -> tuple[float, float]:
        seen = [session.run(EVALUATE, x[some], labels[some]) for some in parts(held)]
        right = hits(np.concatenate([outputs for _, outputs in seen]), labels[held])
        return (float(np.concatenate([losses for losses, _ in seen]).mean()),
                float(np.divide(*right)))

    frozen = config["layers"][0].get("count", 0) if front else 0
    before, first = infer(Model(base.config, base.tensors, False), "int8 before (samples)")
    history: list[TunedEpoch] = []
    none: tuple[list[str], list[str]] = [], []
    best, best_words = 0, tensors
    with placed(board, training_path, pack(config, tensors)), _memory(), board.serve() as client:
        used = client.heap()[1]
        client.load(training_path, training=True)
        ram = client.heap()[1] - used
        session = Training(client, config, tensors, base if front else None)
        assert session.reference
        least = at_first = validate()[0]
        for epoch in range(1, epochs + 1):
            saturated = session.overflows
            losses, reached = [], np.zeros(2, np.int64)
            for some in rng.permutation(kept)[: steps * batch].reshape(-1, batch):
                found, outputs = session.run(TRAIN, x[some], labels[some])
                losses += found.tolist()
                reached += hits(outputs, labels[some])
                advance(f"training (steps): loss {np.mean(losses[-batch:]):.3f}, "
                        f"{np.divide(*reached):.0%} right", len(session.microseconds), total)
            seen, right = validate()
            history.append(TunedEpoch(
                loss=float(np.mean(losses)), accuracy=float(np.divide(*reached)),
                validation_loss=seen, validation_accuracy=right, overflows=session.overflows,
            ))
            if session.overflows > saturated:
                raise Attn8Error(f"values saturated in epoch {epoch}: give a lower --lr than "
                                 f"{rate or RATES[optimizer]:g}; the model is as it was")
            if seen < least:
                least, best = seen, epoch
                best_words = {p.name: session.f.floats(p.value) for p in session.reference.params}
            if epoch - best >= patience:
                break
    exact = first.bit_exact and bool(session.bit_exact)
    after, (clipped, large) = before, none
    if best:
        with (placed(board, training_path, pack(config, best_words)), _memory(),
              board.serve() as client):
            client.load(training_path, training=True)
            measured = Training(client, config, best_words, base if front else None)
            for some in parts(kept[:CALIBRATION]):
                measured.run(CALIBRATE, x[some], labels[some])
            client.run(np.array([QUANTIZE, 0], measured.dtype).tobytes())
        with TemporaryDirectory(dir=output.parent, prefix=".attn8-") as folder:
            made = Path(folder) / "new"
            made.write_bytes(board.read_file(target))
            new = Model(*modelfile.read(made), False)
            after, last = infer(new, "int8 after (samples)")
            exact = exact and bool(measured.bit_exact) and last.bit_exact
            clipped, large = beyond(best_words, in_int8(new, which, target), last, new, frozen)
            load(made)
            made.replace(output)
    return Tuned(
        board=board.info.as_dict(), model=base.name, epochs=len(history), batch=batch,
        steps=len(session.microseconds), layers=names, samples=len(x), validation=len(held),
        best_epoch=best, validation_loss_before=at_first, accuracy_before=before,
        accuracy_after=after, clipped=clipped, large=large,
        device_us_per_step=statistics.median(session.microseconds),
        bit_exact=exact, overflows=session.overflows, ram_bytes=ram, history=history,
    )  # fmt: skip


def in_int8(model: Model, which: str, target: str) -> dict[str, np.ndarray]:
    """The parameters of `training` that the int8 model has as int8 or int16, in floats."""
    found = training(model, which, target)[1]
    return {name: values for name, values in found.items() if name in model.tensors}


def beyond(
    trained: dict[str, np.ndarray], made: dict[str, np.ndarray], found: Verification, model: Model,
    frozen: int,
) -> tuple[list[str], list[str]]:
    """What is clipped: by a scale that frozen layers have, too; and as no scale would do.

    That is layers with results at the end of int16, or with a weight that is off by more than a
    step of int8. Of these no scale helps what takes values of the scale that it gives, or shares it
    with none that is frozen.

    Args:
        trained, made: the parameters, and those of the int8 model in floats.
        found: of the int8 model.
        model: that, whose first `frozen` layers did not train.
    """
    weights = {name.rpartition(".")[0] for name, values in made.items() if name.endswith(".weight")
               and (np.abs(trained[name]) - np.abs(values)).max() > np.abs(values).max() / 127}
    entries, sources = model.config["layers"], modelfile.inputs(model.config)
    scales = {entry["name"]: entry.get("scale") for entry in entries}
    kept = {scales[entry["name"]] for entry in entries[:frozen]}
    takes = {entry["name"]: {scales.get(name) for name in names}
             for entry, names in zip(entries, sources, strict=True)}
    large = {name for name in weights & scales.keys()
             if scales[name] in takes[name] or scales[name] not in kept}
    ends = {name for outputs in found.outputs for name, values in outputs.items()
            if values.dtype == np.int16 and np.abs(values).max() == 32767}
    return sorted((weights | ends) - large), sorted(large)


@contextmanager
def _memory() -> Iterator[None]:
    """Says what to do where the board's memory is full of what trains."""
    try:
        yield
    except RemoteError as error:
        if error.kind != "MemoryError":
            raise
        said = str(error).partition(";")[0]
        raise Attn8Error(f"{said}: give fewer --layers; the model is as it was") from None
