"""`attn8 train`: a model that learns on a board."""

import argparse
import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import Attn8Error, ModelError
from ..terminal import printable
from .parser import Command, Parser
from .pictures import pyplot, save
from .shared import add_board, add_json, add_png, equal, facts, opened, positive, write_json

if TYPE_CHECKING:
    from ..model import Model
    from ..plan.inference import Plan
    from ..train.session import Outcome, Trained, TuneOutcome
    from ..train.tune import Tuned


EPOCHS = 10  # of a model of one's own, by default
# Heaps of the virtual board: as stock firmware of ESP32 or C3 has it, with room for what lies
# unused between what a plan counts; and for what fits none of these chips
CHIP_HEAP, LARGE_HEAP = "160wK", "4M"
NAMED = ("iris", "digits")
# Of a model of one's own
OWN = ("--layers", "--lr", "--memory", "--optimizer", "--patience", "--output", "--prepare")


def options(parser: Parser) -> None:
    add_board(parser)
    parser.add_argument(
        "what", metavar="MODEL",
        help="a model file, in int8 or floats, whose last layers train; or iris: a transformer "
        "from scratch, or digits: the demo's model, fine-tuned and quantized on the board",
    )
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA.npz",
                        help="of a model file: the arrays inputs [samples, ...], labels [samples] "
                        "(of a model that gives each token its own values [samples, tokens]) and, "
                        "where the model takes them, lengths; a fifth of them validates")
    parser.add_argument("--layers", type=_layers, metavar="head|last:N|all",
                        help="which train: the last one with parameters, the last N, all (default: "
                        "as many as fit a chip)")
    parser.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd",
                        help="with momentum, or of twice the memory (default: %(default)s)")
    parser.add_argument("--memory", choices=["fast", "recompute", "plain", "direct"],
                        help="of the board: fast keeps what a pass computes, recompute computes "
                        "part of it again, plain has no momentum either, direct no gradients: one "
                        "sample a step, each parameter trains at once (default: the first that "
                        "fits a chip)")
    parser.add_argument("--lr", type=_rate, metavar="RATE",
                        help="learning rate at its highest (default: 0.02 of sgd, 0.005 of adam)")
    parser.add_argument("--patience", type=positive, default=3, metavar="N",
                        help="epochs without a lower validation loss that end it (default: "
                        "%(default)s)")
    parser.add_output("--output", "the new int8 model file to write")
    parser.add_argument("--prepare", action="store_true",
                        help="train nothing here: put the model and what trains it onto the board, "
                        "for attn8.train.fit")
    parser.add_argument("--shift", choices=["invert", "rotate"], default="invert",
                        help="digits: what happens to a tenth of them (default: %(default)s)")
    parser.add_argument("--numbers", choices=["Q16.16", "Q24.8", "Q8.8", "float", "double"],
                        default="Q16.16",
                        help="iris: fixed point, or the board's floats (default: %(default)s)")
    parser.add_argument("--epochs", type=positive, metavar="N",
                        help=f"default: 20 for iris, 3 for digits, {EPOCHS} for a model file")
    parser.add_argument("--batch", type=positive, default=10, metavar="N",
                        help="samples of a step (default: %(default)s)")
    parser.add_argument("--seed", type=positive, default=1, metavar="N",
                        help="of the first weights and the samples' order (default: %(default)s)")
    add_json(parser)
    add_png(parser, "loss and accuracy per epoch", "attn8-training.png")
    parser.ignores(["--shift"], lambda a: a.what != "digits", "only digits takes it")
    parser.ignores(["--numbers"], lambda a: a.what != "iris", "only iris takes it")
    parser.ignores(["--png"], lambda a: a.what == "digits", "digits draws nothing")
    parser.ignores(["--epochs", "--patience", "--seed", "--json", "--png"], lambda a: a.prepare,
                   "attn8.train.fit takes them on the board")
    parser.ignores(["--batch"], lambda a: a.memory == "direct",
                   "a step of --memory direct is one sample")
    parser.ignores(OWN, lambda a: a.what in NAMED, "only a model file takes it")


def _layers(text: str) -> str:
    if not re.fullmatch(r"head|all|last:\d{1,4}", text):
        raise argparse.ArgumentTypeError(f"expected head, last:N or all, got {text!r}")
    return text


def _rate(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 2.0**-15 <= (number := float(text)) <= 1:
            return number
    raise argparse.ArgumentTypeError(f"expected a number from 0.00004 to 1, got {text!r}")


def run(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.what not in NAMED:
        return own(arguments, console)
    if arguments.data:
        raise Attn8Error(f"{arguments.data}: {arguments.what} has data of its own; leave it out")
    return (digits if arguments.what == "digits" else iris)(arguments, console)


def own(arguments: argparse.Namespace, console: Console) -> int:
    path = Path(arguments.what)
    if not path.exists():
        raise Attn8Error(f"{path}: expected a model file, iris or digits")
    if arguments.prepare:
        return prepare(arguments, path, console)
    if arguments.data is None:
        raise Attn8Error("with what? Give DATA.npz, with the arrays inputs and labels")
    if arguments.output is None:
        raise Attn8Error("where to? Give the new model's file with --output FILE")
    with _int8(path, arguments.data, console) as int8:
        return _own(arguments, path, int8, console)


@contextlib.contextmanager
def _int8(path: Path, data: Path, console: Console) -> Iterator[Path]:
    """The model's int8 file: its own, or what `attn8 quantize` makes of floats and the samples."""
    from .. import modelfile
    from ..quantize.file import quantize_file

    config, tensors = modelfile.read(path)
    floats = all(values.dtype.kind == "f" for values in tensors.values())
    if not floats or any("scale" in entry or "format" in entry for entry in config["layers"]):
        yield path
        return
    with TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        lengths = data if config["input"].get("lengths") else None
        found = quantize_file(path, data, made, console, lengths)
        console.print(f"{path} is of floats: in int8 {found.top1_agreement:.2%} of the samples "
                      "have the same largest output", highlight=False)
        yield made


def _own(arguments: argparse.Namespace, path: Path, int8: Path, console: Console) -> int:
    import numpy as np

    from ..feed import clamped
    from ..inputs import read, read_names
    from ..model import load
    from ..train import memory, session, tune

    base = load(int8, False)
    samples = tune.read(arguments.data, base)
    _, kept = tune.split(np.random.default_rng(arguments.seed), len(samples[1]))
    epochs = arguments.epochs or EPOCHS
    session.total_steps(len(kept), epochs, 1 if arguments.memory == "direct" else arguments.batch)
    tune.require_rate(arguments.optimizer, arguments.lr)
    which = arguments.layers or tune.most(base, int8, arguments.batch, arguments.optimizer)
    try:
        how, found = _memory(arguments, base, int8, which)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    fits = ", ".join(chip for chip, yes in found.fits.items() if yes) or "no chip without PSRAM"
    console.print(f"--layers {which}, by attn8 plan: {found.peak_heap:,} bytes of heap, which fits "
                  f"{fits}, with --memory {how}: {memory.CHOICES[how]}", highlight=False)
    warnings = []
    if samples[1].ndim == 1 and (absent := tune.missing(samples[1][kept], base.output_size)):
        names = read_names(arguments.data) or []
        if len(names) != base.output_size:  # of another model's classes
            names = [str(c) for c in range(base.output_size)]
        said = ", ".join(printable(names[c]) for c in absent)
        warnings.append(f"no sample that trains is of class {said}: what trains forgets it")
    if base.lengths.tokens and (samples[0][:, -1] == base.lengths.tokens).all():
        warnings.append(f"all {base.lengths.tokens} tokens of each sample count: {arguments.data} "
                        "says no shorter lengths")
    raw = read(arguments.data, base.config)
    if raw.dtype != np.int8:
        warnings += clamped(base.config, base.tensors, raw)
    for warning in warnings:
        console.print(f"warning: {warning}", highlight=False, markup=False)
    heap = CHIP_HEAP if any(found.fits.values()) else LARGE_HEAP
    with opened(arguments, console, heap) as board, progress(console) as advance:
        outcome = tune.tune(
            board, int8, base, samples, arguments.output, which, epochs, arguments.batch,
            arguments.seed, arguments.optimizer, arguments.lr, arguments.patience, how, advance,
        )
    draw_own(arguments.png, outcome)
    best = outcome.best_epoch
    console.print(_table(f"attn8 train: {outcome.model}", outcome, "training and int8 inference", [
        ("int8 accuracy before", f"{outcome.accuracy_before:.2%}",
         f"of {outcome.validation} samples to validate with"),
        ("int8 accuracy after", f"{outcome.accuracy_after:.2%}",
         f"{', '.join(outcome.layers)}, as after epoch {best}" if best else "as before"),
    ]))  # fmt: skip
    for name in outcome.clipped:
        console.print(f"warning: {name}: it has outgrown the int16 scale that it has together with "
                      "layers that do not train, and is clipped; give --layers all, or quantize "
                      "anew with these samples", highlight=False, markup=False)
    for name in outcome.large:
        console.print(f"warning: {name}: its weight has grown beyond what any scale of its int16 "
                      "expresses, and is clipped; give a lower --lr", highlight=False,
                      markup=False)
    said = f"{arguments.output}: the new int8 model" if best else (
        f"no epoch was better than the model as it is, whose validation loss is "
        f"{outcome.validation_loss_before:.4f}: {arguments.output} is not written; give a lower "
        "--lr, other --layers or more samples")
    console.print(f"{said}; loss and accuracy: {arguments.png}", highlight=False)
    write_json(arguments.json, outcome.as_dict())
    return 0 if outcome.bit_exact and best else 1


def _memory(arguments: argparse.Namespace, base: "Model", path: Path, which: str) -> (
        "tuple[str, Plan]"):
    """How it saves a board's memory, by default the fastest that fits a chip, and what it takes."""
    from ..train import memory, tune

    def planned(how: str) -> "Plan":
        return tune.planned(base, path, which, arguments.batch, arguments.optimizer, how)

    if arguments.memory:
        return arguments.memory, planned(arguments.memory)
    return memory.choose(planned, arguments.optimizer)


def prepare(arguments: argparse.Namespace, path: Path, console: Console) -> int:
    from ..deploy import deploy, push
    from ..layers.base import TOKENS
    from ..model import load
    from ..train import tune
    from ..train.session import pack

    for given, what in ((arguments.data, "DATA.npz"), (arguments.output, "--output")):
        if given is not None:
            raise Attn8Error(f"{given}: leave {what} out; with --prepare the board trains on what "
                             "it collects")
    tune.require_rate(arguments.optimizer, arguments.lr)
    base = load(path, False)
    target = f"/models/{path.stem}.safetensors"
    training = f"/models/{path.stem}_train.safetensors"
    try:
        which = arguments.layers or tune.most(base, path, arguments.batch, arguments.optimizer)
        how, found = _memory(arguments, base, path, which)
        config, tensors, names = tune.prepare(base, which, target, arguments.batch,
                                              arguments.optimizer, arguments.lr, how)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    told = "tokens" in config["input"]
    size = config["input"]["size"] + told
    ids = config["input"].get("format") == TOKENS
    kind, values = (', "h"', "ids") if ids else ("", "model.feed(values)")
    label = ", label"
    if each := config.get("labels"):  # of each token, but of a text's
        text = tune.writes(base)
        kind += f", labels={0 if text else each}"
        label = "" if text else ", labels"
    with opened(arguments, console) as board, progress(console) as advance:
        deploy(board, progress=lambda done, size: advance("package to the board (bytes)", done,
                                                          size))
        push(board, target, path.read_bytes())
        push(board, training, pack(config, tensors))
    if how != "fast" and config["layers"][0]["type"] == "front":
        found = tune.planned_alone(base, path, which, arguments.optimizer, how)
    console.print(
        f"{', '.join(names)} will train, with --memory {how}, by attn8 plan in "
        f"{found.peak_heap:,} bytes of heap. On the board, collect and fit:\n"
        "  from attn8 import load, train\n"
        "  from attn8.train.samples import Samples\n"
        f'  samples = Samples("/models/{path.stem}.samples", {size}{kind})\n'
        f'  model = load("{target}")\n'
        f"  samples.append({values}{label}{', length=length' * told})   # as often as there is "
        "one\n"
        "  del model\n"
        f'  train.fit("{training}", samples)', highlight=False)
    return 0


def digits(arguments: argparse.Namespace, console: Console) -> int:
    from ..train import session

    with opened(arguments, console) as board, progress(console) as advance:
        outcome = session.digits(board, arguments.shift, arguments.epochs or 3, arguments.batch,
                                 arguments.seed, advance)
    console.print(tuning_table(outcome))
    write_json(arguments.json, outcome.as_dict())
    return 0 if outcome.bit_exact else 1


def iris(arguments: argparse.Namespace, console: Console) -> int:
    from ..train import session

    with opened(arguments, console) as board, progress(console) as advance:
        outcome = session.iris(board, arguments.numbers, arguments.epochs or 20, arguments.batch,
                               arguments.seed, advance)
    draw(arguments.png, outcome)
    console.print(training_table(outcome))
    console.out(f"loss and accuracy: {arguments.png}", highlight=False)
    write_json(arguments.json, outcome.as_dict())
    return 1 if outcome.bit_exact is False else 0  # None: floats are not compared


@contextlib.contextmanager
def progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars by description; yields a function of (description, done, total)."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<30}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, total: int) -> None:
            key = what.partition(":")[0]  # behind it stands how that goes
            if key not in tasks:
                tasks[key] = bars.add_task(what, total=total)
            bars.update(tasks[key], description=what, completed=done, total=total)

        yield advance


def training_table(outcome: "Outcome") -> Table:
    title = f"attn8 train {outcome.model}: {outcome.numbers}"
    return _table(title, outcome, "all tensors", [
        ("test accuracy", f"{outcome.test_accuracy:.2%}", "saved, reset, loaded again"),
        ("in float64", f"{outcome.float64_test_accuracy:.2%}", "same data in the same order"),
    ])  # fmt: skip


def tuning_table(outcome: "TuneOutcome") -> Table:
    return _table(f"attn8 train digits: a tenth {outcome.shift}ed", outcome,
                  "training and int8 inference", [
        ("int8 accuracy before", f"{outcome.accuracy_before:.2%}",
         f"of the shifted tenth {outcome.shifted_before:.2%}"),
        ("int8 accuracy after", f"{outcome.accuracy_after:.2%}",
         f"of the shifted tenth {outcome.shifted_after:.2%}"),
    ])  # fmt: skip


def _table(
    title: str, outcome: "Trained", compared: str, rows: list[tuple[str, str, str]]
) -> Table:
    first, last = outcome.history[0], outcome.history[-1]
    count, style, what = f"{outcome.overflows:,}", "", "in all steps"
    if outcome.overflows_grow:
        style, what = "red", "still in the last epoch: lr too high"
    return facts(title, [
        ("board", outcome.board["kind"], outcome.board["machine"]),
        *rows,
        ("loss", f"{last.loss:.4f}", f"in the first epoch {first.loss:.4f}"),
        ("steps", f"{outcome.steps:,}",
         f"epochs: {outcome.epochs}, samples a step: {outcome.batch}"),
        ("compared with NumPy", equal(outcome.bit_exact), f"{compared}, all steps"),
        ("values that saturated", Text(count, style), Text(what, style)),
        ("time per step", f"{outcome.device_us_per_step:,.0f} us",
         "median, clocked by the board" + (" (this computer's speed)"
                                           if outcome.board["kind"] == "virtual" else "")),
        ("RAM", f"{outcome.ram_bytes:,} bytes", "Python heap of the model in training"),
    ])  # fmt: skip


def draw_own(path: Path, outcome: "Tuned") -> None:
    """Draws loss and accuracy of every epoch, of what trains and of what validates."""
    plt = pyplot()
    epochs = range(1, outcome.epochs + 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    left.plot(epochs, [e.loss for e in outcome.history], "o-", ms=3, label="training")
    left.plot([0, *epochs], [outcome.validation_loss_before,
                             *(e.validation_loss for e in outcome.history)], "o-", ms=3,
              label="validation")
    left.axvline(outcome.best_epoch, color="k", ls=":", lw=1, label="kept")
    left.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    for key, label in (("accuracy", "training"), ("validation_accuracy", "validation")):
        right.plot(epochs, [100 * getattr(e, key) for e in outcome.history], "o-", ms=3,
                   label=label)
    right.set(xlabel="epoch", ylabel="accuracy in %", ylim=(0, 102))
    for axes in (left, right):
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(f"{outcome.model}: {', '.join(outcome.layers)}, trained on the board",
                    fontsize="medium")
    save(figure, path)


def draw(path: Path, outcome: "Outcome") -> None:
    """Draws loss and accuracy of every epoch, on the board and in float64."""
    plt = pyplot()
    epochs = range(1, outcome.epochs + 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for key, style, label in (
        ("loss", "o-", f"board, {outcome.numbers}"), ("float64_loss", "k--", "float64"),
    ):
        left.plot(epochs, [getattr(e, key) for e in outcome.history], style, ms=3, label=label)
    left.set(xlabel="epoch", ylabel="loss (mean over the training data)", ylim=(0, None))
    left.legend()
    left.xaxis.get_major_locator().set_params(integer=True)
    right.xaxis.get_major_locator().set_params(integer=True)
    for key, style, label in (
        ("accuracy", "o-", "training, board"), ("test_accuracy", "s-", "test, board"),
        ("float64_test_accuracy", "k--", "test, float64"),
    ):
        right.plot(epochs, [100 * getattr(e, key) for e in outcome.history], style, ms=3,
                   label=label)
    right.set(xlabel="epoch", ylabel="accuracy in %", ylim=(0, 102))
    right.legend()
    figure.suptitle(f"{outcome.model}, trained on the board", fontsize="medium")
    save(figure, path)


COMMAND = Command("train a model on a board and prove every step", options, run, place=4)
