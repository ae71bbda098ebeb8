"""`attn8 plan`: what a model or its training takes, without a board."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..errors import Attn8Error
from .parser import Command, Parser
from .shared import add_isa, add_json, amount, positive, write_json

if TYPE_CHECKING:
    from ..plan.inference import Plan
    from ..plan.training import TrainPlan

NAMED = ("iris", "digits")  # what attn8 train trains


def options(parser: Parser) -> None:
    parser.add_argument("--model", type=Path, metavar="FILE", help="int8 model file")
    parser.add_argument("--seq-len", type=positive, metavar="S", help="tokens of one layer")
    parser.add_argument("--embed-dim", type=positive, metavar="E", help="values of a token")
    parser.add_argument("--heads", type=positive, metavar="H", help="a divisor of E")
    parser.add_argument("--core", default="exact", metavar="NAME", help="(default: %(default)s)")
    parser.add_argument("--causal", action="store_true",
                        help="a token sees itself and those before it")
    parser.add_argument(
        "--train", nargs="?", const="given", choices=["given", *NAMED],
        help="what training takes: of what attn8 train trains, or of the layer or training file",
    )
    parser.add_argument("--projection-dim", type=positive, metavar="P",
                        help="with --train, in place of --heads: of a SelfAttention1D")
    parser.add_argument("--numbers", choices=["Q16.16", "Q24.8", "Q8.8", "float", "double"],
                        default="Q16.16",
                        help="that iris or a layer trains in (default: %(default)s)")
    parser.add_argument(
        "--option", type=_option, action="append", default=[], metavar="NAME=VALUE",
        help="of the core, such as window=16, block_size=16, num_features=32 or "
        "mask='[\"local_window\", 4]'; repeat for more",
    )
    add_isa(parser, "ESP32 and S3 (default), ESP32-C3 and C6, or ESP32-S2", "xtensawin")
    parser.add_argument(
        "--backend", choices=["viper", "turbo"], default="turbo",
        help="the kernels that are deployed (default: %(default)s)",
    )
    parser.add_argument(
        "--flash-rate", type=amount, metavar="BYTES",
        help="that are read of a file in a second, such as 2M: what tokens of a text take then",
    )
    add_json(parser, "plan")
    layer = ["--core", "--causal", "--option"]
    sizes = ["--seq-len", "--embed-dim", "--heads", "--projection-dim"]
    parser.ignores([*sizes, *layer], lambda a: a.model is not None,
                   "a model file says what its layers are")
    parser.ignores(sizes, lambda a: a.train in NAMED, "a model that is named has its layers")
    parser.ignores(["--projection-dim"], lambda a: a.train is None or a.heads is not None,
                   "only --train takes it, of a layer without --heads")
    parser.ignores(layer, lambda a: a.train is not None, "a layer that trains has one form")
    parser.ignores(["--numbers"], lambda a: a.train is None, "only --train takes it")
    parser.ignores(["--numbers"], lambda a: a.train == "digits" or a.model is not None,
                   "only iris or a layer takes it")
    parser.ignores(["--flash-rate"], lambda a: a.model is None or a.train is not None,
                   "only a model of text takes it")
    parser.ignores(["--isa"], lambda a: a.train is not None, "--train counts for all")


def _option(text: str) -> tuple[str, object]:
    """NAME=VALUE, the value in JSON or a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def run(arguments: argparse.Namespace, console: Console) -> int:
    sizes = (arguments.seq_len, arguments.embed_dim, arguments.heads or arguments.projection_dim)
    if (arguments.model is not None) + (None not in sizes) + (arguments.train in NAMED) != 1:
        raise Attn8Error(
            "plan what? Give --model FILE, or --seq-len, --embed-dim and --heads, or --train iris"
        )
    named = dict(arguments.option)
    if len(named) < len(arguments.option):
        raise Attn8Error("--option: a name is given more than once, and one value counts")
    return (training if arguments.train else inference)(arguments, sizes, console)


def training(
    arguments: argparse.Namespace, sizes: tuple[int, int, int], console: Console
) -> int:
    from ..plan.training import train_plan, training

    with console.status("training one step"):
        kind = "self_attention_1d" if arguments.projection_dim else "attention"
        config, tensors = training(arguments.train, arguments.model, sizes, arguments.numbers, kind)
        planned = train_plan(config, tensors, arguments.backend)
    console.print(training_table(planned))
    write_json(arguments.json, planned.as_dict())
    return 0 if any(planned.memory.fits.values()) else 1


def inference(
    arguments: argparse.Namespace, sizes: tuple[int, int, int], console: Console
) -> int:
    from ..model import load
    from ..plan.inference import layer_plan, plan

    with console.status("counting instructions"):
        if arguments.model:
            model = load(arguments.model)
            planned = plan(model.config, model.tensors, arguments.isa, arguments.backend)
        else:
            planned = layer_plan(arguments.core, *sizes, arguments.causal, dict(arguments.option),
                                 arguments.isa, arguments.backend)
    found = planned.as_dict()
    shown = table(planned)
    if arguments.flash_rate:
        rates = planned.at_rate(arguments.flash_rate)
        found |= {"flash_rate": arguments.flash_rate, "tokens_per_second": rates}
        for clock, rate in rates.items():
            shown.add_row(f"tokens a second at {clock}, {arguments.flash_rate:,} bytes read in one",
                          f"{rate:,}")
    console.print(shown)
    write_json(arguments.json, found)
    return 0 if any(planned.fits.values()) else 1


def table(planned: "Plan") -> Table:
    table = Table(
        title=f"attn8 plan: {planned.name}, {planned.backend} kernels of {planned.arch}",
        caption="Predicted: memory by MicroPython's object layout, instructions by counting, "
        f"cycles by a model of the {planned.pipeline}'s pipeline",
    )
    table.add_column("what", overflow="fold")
    table.add_column("", justify="right")
    for name, size in planned.buffers.items():
        table.add_row(name, f"{size:,} bytes", style="dim")
    if planned.sharing:
        table.add_row(f"arena, shared by {len(planned.sharing)} layers, where each had",
                      f"{sum(planned.sharing.values()):,} bytes")
    for name, size in planned.required.items():
        table.add_row(f"{name}, required at once", f"{size:,} bytes")
    rows = [
        ("RAM of the model, objects included", planned.ram),
        ("of the server", planned.server),
        ("of the package's code, once it is loaded", planned.package),
        ("peak heap, while it loads or after", planned.peak_heap),
        ("RAM for machine code, not of the heap", planned.exec_ram),
        ("flash, package and model", planned.flash),
    ]
    if planned.streamed_peak:
        rows.insert(4, ("the same with the weights in the file", planned.streamed_peak))
    for what, size in rows:
        table.add_row(what, f"{size:,} bytes")
    if planned.instructions:
        what = "a token" if planned.text else "an inference"
        table.add_row(f"instructions of {what}", f"{planned.instructions:,}")
        table.add_row("cycles that they take, by the model", f"{planned.cycles:,}")
        if planned.macs:
            each = planned.instructions / planned.macs
            table.add_row(f"multiply-accumulates, at {each:.2f} instructions",
                          f"{planned.macs:,}")
    for clock, time in planned.milliseconds.items():
        table.add_row(f"time at {clock}", f"{time:,} ms")
    if planned.read:
        table.add_row(f"read of the file for a token, on top, in {planned.reads} reads",
                      f"{planned.read:,} bytes")
    for chip, fits in planned.fits.items():
        table.add_row(f"fits {chip}", "yes" if fits else "no")
    return table


def training_table(planned: "TrainPlan") -> Table:
    memory = planned.memory
    table = Table(
        title=f"attn8 plan --train: {memory.name}, {planned.batch} samples a step",
        caption="Predicted: memory by MicroPython's object layout and by formula, instructions by "
        "counting, cycles by a model of the cores' pipelines; per MAC: the kernels alone. Values "
        "that train take 4 bytes in all formats but double, in Q8.8 too, where a layer that only "
        "runs has 2",
    )
    table.add_column("what")
    for heading in ("bytes", *planned.cost):
        table.add_column(heading, justify="right")
    rows: list[tuple[str, int | None]] = [
        (f"{name}: arrays by formula", size) for name, size in planned.attention.items()
    ]
    rows += [
        ("RAM of the model in training", memory.ram),
        ("RAM with recompute", planned.recompute_ram),
        ("RAM of the server", memory.server),
        ("RAM of the package's code, once it is loaded", memory.package),
        ("peak heap, while it loads or after", memory.peak_heap),
    ]
    for what, size in rows:
        if size is not None:
            table.add_row(what, f"{size:,}")
    costs = planned.cost.values()
    if costs:
        for key in ("forward_per_mac", "backward_per_mac", "forward", "backward", "update",
                    "step"):
            table.add_row(f"instructions, {key.replace('_', ' ').replace('mac', 'MAC')}", "",
                          *(f"{getattr(cost, key):,}" for cost in costs))
        table.add_row("cycles, step, by the model", "", *(f"{cost.cycles:,}" for cost in costs))
        for clock in next(iter(costs)).milliseconds:
            table.add_row(f"a step at {clock}", "",
                          *(f"{cost.milliseconds[clock]:,} ms" for cost in costs))
    for chip, fits in memory.fits.items():
        table.add_row(f"fits {chip}", "yes" if fits else "no")
    return table


COMMAND = Command(
    "memory, flash and time of a model or one attention layer, without a board",
    options, run, place=12,
)
