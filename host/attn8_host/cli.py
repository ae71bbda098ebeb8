"""The `attn8` command."""

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from . import __version__
from .errors import Attn8Error, BoardError

if TYPE_CHECKING:
    from .boards import Board

# What needs NumPy, matplotlib or a board is imported by the command that uses it: --help is quick


def demo(arguments: argparse.Namespace, console: Console) -> int:
    from . import demo, report

    _writable(arguments.json)
    _writable(arguments.png)
    with _board(arguments, console) as board:
        outcome, result = demo.demonstrate(board, console, arguments.png, arguments.samples)
    console.print(report.demo_table(outcome, result))
    console.out(f"attention heat map: {arguments.png}", highlight=False)
    _write_json(arguments.json, outcome.as_dict())
    return 0 if outcome.bit_exact else 1


def run(arguments: argparse.Namespace, console: Console) -> int:
    import numpy as np
    from safetensors.numpy import save

    from . import inputs, report
    from .model import load
    from .numerics.scales import quantize
    from .proof.run import run

    for path in (arguments.json, arguments.png, arguments.output):
        _writable(path)
    need_weights = not arguments.no_weights
    model = load(arguments.model, need_weights)
    samples = inputs.read(arguments.inputs, model.config)
    if samples.dtype != np.int8:
        if "scale" not in model.config["input"]:
            raise Attn8Error(f"{arguments.model} has no input scale: give int8 inputs")
        samples = quantize(samples, model.config["input"]["scale"])
    with _board(arguments, console) as board:
        outcome, result = run(board, model, arguments.model, samples, console, need_weights)
    console.print(report.run_table(outcome, result))
    if arguments.png and not report.draw_attention(arguments.png, result.outputs[0]):
        console.print("no attention weights to draw")
    if arguments.output:
        outputs = result.outputs
        stacked = {name: np.stack([o[name] for o in outputs]) for name in outputs[0]}
        arguments.output.write_bytes(save(stacked))
    _write_json(arguments.json, outcome.as_dict())
    return 0 if outcome.bit_exact else 1


def flash(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from .boards import resolve
    from .flash import FLASH_BAUD, flash

    if arguments.firmware is None:
        raise Attn8Error("which MicroPython? Give its .bin with --firmware FILE")
    columns = (TextColumn("{task.description:<20}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        tasks = {}

        def report(phase: str, done: int, total: int | None) -> None:
            if phase not in tasks:
                finish()
                tasks[phase] = bar.add_task(phase, total=total)
            bar.update(tasks[phase], completed=done, total=total)

        def finish() -> None:
            for task in tasks.values():
                bar.update(task, completed=1, total=1)

        port = resolve(arguments.board)
        baud = arguments.baud or FLASH_BAUD
        info = flash(port, arguments.firmware, baud, not arguments.no_stub, report)
        finish()
    console.print(f"Flashed: {info}", highlight=False)
    return 0


def train(arguments: argparse.Namespace, console: Console) -> int:
    from . import report
    from .train import session as train

    _writable(arguments.json)
    _writable(arguments.png)
    with _board(arguments, console) as board, report.progress(console) as advance:
        if arguments.what == "digits":
            tuned = train.digits(board, arguments.shift, arguments.epochs or 3,
                                 arguments.batch, arguments.seed, advance)
        else:
            outcome = train.iris(board, arguments.numbers, arguments.epochs or 20,
                                 arguments.batch, arguments.seed, advance)
    if arguments.what == "digits":
        console.print(report.tuning_table(tuned))
        result = tuned.as_dict()
    else:
        report.draw_training(arguments.png, outcome)
        console.print(report.training_table(outcome))
        console.out(f"loss and accuracy: {arguments.png}", highlight=False)
        result = outcome.as_dict()
    _write_json(arguments.json, result)
    return 1 if result["bit_exact"] is False else 0


def deploy(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import Progress

    from .deploy import LIB, MODELS, apply, install_boot, package_for, plan, push, try_model
    from .forms import SIMD_FILE
    from .model import load

    model = arguments.model
    if model:
        load(model)  # what cannot run is refused before anything is sent
    with _board(arguments, console) as board:
        planned = plan(board, package_for(board, arguments.source))
        if SIMD_FILE in planned.files:
            console.print(f"{SIMD_FILE} is experimental: no ESP32-S3 has run it yet")
        if arguments.dry_run:
            for path in planned.changed:
                console.print(f"send {LIB}/{path} ({len(planned.files[path]):,} bytes)")
            for path in planned.stale:
                console.print(f"remove {LIB}/{path}")
            console.print(f"{len(planned.changed)} files to send, {len(planned.stale)} to remove")
            return 0
        with Progress(console=console) as bar:
            task = bar.add_task(f"device/ to {LIB}", total=None)

            def progress(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            done = apply(board, planned, progress)
            progress(done.bytes_sent, done.bytes_sent)
            if model:
                task = bar.add_task(f"the model to {MODELS}", total=None)
                push(board, f"{MODELS}/{model.name}", model.read_bytes(), progress)
        booting = install_boot(board, replace=arguments.boot)
        if model:
            try_model(board, f"{MODELS}/{model.name}")
    console.print(
        f"{done.files} files, {done.sent} sent ({done.bytes_sent:,} bytes); boot.py is "
        + ("attn8's" if booting else "the board's own (--boot replaces it)")
    )
    return 0


def undeploy(arguments: argparse.Namespace, console: Console) -> int:
    from .deploy import LIB, undeploy

    with _board(arguments, console) as board:
        undeploy(board)
    console.print(f"{LIB} is removed; models and your own files are as they were")
    return 0


def quantize(arguments: argparse.Namespace, console: Console) -> int:
    from .quantize.file import quantize_file

    _writable(arguments.output)
    found = quantize_file(arguments.model, arguments.calibration, arguments.output, console)
    console.print(
        f"{arguments.output}: {arguments.output.stat().st_size:,} bytes. Against the float model "
        f"over {found.samples:,} inputs: cosine {found.cosine:.5f} (lowest "
        f"{found.lowest_cosine:.5f}), same largest output {found.top1:.2%}",
        highlight=False, markup=False,
    )
    return 0


def verify(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    from . import report
    from .deploy import deploy
    from .proof.verify import run

    _writable(arguments.json)
    _writable(arguments.png)
    with _board(arguments, console) as board:
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("device/ to /lib/attn8", total=None)
            deploy(board, progress=lambda n, total: bar.update(task, completed=n, total=total))
            task = bar.add_task("mechanisms", total=None)
            outcome = run(
                board,
                arguments.core,
                lambda what, done, total: bar.update(
                    task, description=what, completed=done, total=total
                ),
            )
    console.print(report.mechanism_table(outcome))
    for failure in outcome.failures:
        console.out(failure, highlight=False)
    if outcome.cost:
        console.print(report.cost_table(outcome))
        report.draw_cost(arguments.png, outcome)
        console.out(f"cost over seq_len: {arguments.png}", highlight=False)
    _write_json(arguments.json, outcome.as_dict())
    return 0 if outcome.bit_exact else 1


def mask(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import Progress

    from . import mask, report
    from .deploy import deploy

    _writable(arguments.json)
    _writable(arguments.png)
    made = mask.make(arguments.name, arguments.seq_len, arguments.arguments)
    title = " ".join([arguments.name, *map(str, arguments.arguments)])
    console.print(made.visualize(), highlight=False, end="")
    with _board(arguments, console) as board, Progress(console=console) as bar:
        task = bar.add_task("device/ to /lib/attn8", total=None)
        deploy(board, progress=lambda n, total: bar.update(task, completed=n, total=total))
        task = bar.add_task("attention on the board", total=None)
        result, pictures = mask.run(board, made, title)
        bar.update(task, total=1, completed=1)
    console.print(report.mask_table(result))
    report.draw_mask(arguments.png, title, pictures)
    console.out(f"picture: {arguments.png}", highlight=False)
    _write_json(arguments.json, result.as_dict())
    return 0 if result.bit_exact else 1


def repl(arguments: argparse.Namespace, console: Console) -> int:
    from .repl import repl

    with _board(arguments, console) as board:
        repl(board)
    console.print()
    return 0


def boards(arguments: argparse.Namespace, console: Console) -> int:
    from .boards import find_boards, open_board
    from .report import boards_table

    chosen = arguments.board or os.environ.get("ATTN8_BOARD")
    found = []
    for spec in [chosen] if chosen else [port.device for port in find_boards()]:
        try:
            with open_board(spec, arguments.baud, arguments.firmware) as board:
                found.append({**board.info.as_dict(), "free_heap": board.free_heap()})
        except BoardError as error:
            found.append({"port": spec, "error": str(error)})
    if arguments.json:
        console.out(json.dumps(found, indent=2), highlight=False)
    elif found:
        console.print(boards_table(found))
    else:
        console.print("No board is connected. `attn8 boards start virtual` starts a virtual one.")
    return 2 if any("error" in board for board in found) else 0


def boards_start(arguments: argparse.Namespace, console: Console) -> int:
    import subprocess

    command = [sys.executable, "-m", "attn8_host.boards.supervisor"]
    if arguments.root:
        if arguments.root.exists() and not arguments.root.is_dir():
            raise Attn8Error(f"--root: {arguments.root} is no folder")
        command += ["--root", str(arguments.root)]
    if arguments.baud:
        command += ["--baud", str(arguments.baud)]
    console.print("The virtual board's port follows; Ctrl-C stops it.", style="dim")
    # The pipe to its standard input closes, and the board ends, however this process does
    with subprocess.Popen(command, stdin=subprocess.PIPE) as board, suppress(KeyboardInterrupt):
        return board.wait()
    return 0


def soak(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from .boards import open_board
    from .proof.soak import Soak, soak
    from .report import soak_table

    _writable(arguments.json)
    columns = (TextColumn("{task.description:<40}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("connect and deploy", total=arguments.minutes * 60)

        def advance(seen: Soak) -> None:
            said = f"{seen.inferences:,} inferences, {seen.wrong:,} wrong"
            bar.update(task, completed=seen.seconds, description=said)

        outcome = soak(
            lambda: open_board(arguments.board, arguments.baud, arguments.firmware),
            arguments.minutes * 60, arguments.seed, advance,
        )
    console.print(soak_table(outcome))
    _write_json(arguments.json, outcome.as_dict())
    return 0 if outcome.passed else 1


def plan(arguments: argparse.Namespace, console: Console) -> int:
    from . import report
    from .model import load
    from .plan.inference import layer_plan, plan
    from .plan.training import train_plan, training

    _writable(arguments.json)
    sizes = (arguments.seq_len, arguments.embed_dim, arguments.heads)
    named = arguments.train in ("iris", "digits")
    if (arguments.model is not None) + (None not in sizes) + named != 1:
        raise Attn8Error(
            "plan what? Give --model FILE, or --seq-len, --embed-dim and --heads, or --train iris"
        )
    if arguments.train:
        with console.status("training one step"):
            config, tensors = training(arguments.train, arguments.model, sizes, arguments.numbers)
            trained = train_plan(config, tensors, arguments.backend)
        console.print(report.train_plan_table(trained))
        _write_json(arguments.json, trained.as_dict())
        return 0 if any(trained.memory.fits.values()) else 1
    settings = {"arch": arguments.isa, "backend": arguments.backend}
    with console.status("counting instructions"):
        if arguments.model:
            model = load(arguments.model)
            planned = plan(model.config, model.tensors, **settings)
        else:
            planned = layer_plan(arguments.core, *sizes, arguments.causal,
                                 dict(arguments.option), **settings)
    console.print(report.plan_table(planned))
    _write_json(arguments.json, planned.as_dict())
    return 0 if any(planned.fits.values()) else 1


def bench(arguments: argparse.Namespace, console: Console) -> int:
    from . import report

    _writable(arguments.json)
    if arguments.isa:
        from .proof.bench import count

        with console.status(f"counting the instructions of {arguments.isa}"):
            outcome = count.measure(arguments.isa, arguments.backend or "turbo")
    else:
        from .proof.bench import on_board

        with _board(arguments, console) as board, console.status("deploying and timing"):
            outcome = on_board.measure(board, arguments.backend)
    console.print(report.bench_table(outcome))
    _write_json(arguments.json, outcome)
    return 0


def bench_density(arguments: argparse.Namespace, console: Console) -> int:
    from functools import partial

    from rich.progress import Progress

    from . import report
    from .proof.bench import density

    _writable(arguments.json)
    _writable(arguments.png)
    outcomes = []
    with Progress(console=console) as bar:
        for arch in [arguments.isa] if arguments.isa else ["xtensawin", "rv32imc"]:
            task = bar.add_task(arch, total=density.RUNS)
            outcomes.append(density.measure(arch, partial(bar.advance, task)))
    for outcome in outcomes:
        console.print(report.density_table(outcome))
    report.draw_density(arguments.png, outcomes)
    console.out(f"picture: {arguments.png}", highlight=False)
    _write_json(arguments.json, outcomes)
    return 0


def bench_link(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from .boards import BAUD, open_board
    from .boards.virtual import open_virtual
    from .deploy import deploy
    from .proof.bench.link import BAUDS, bench_link
    from .report import link_table

    _writable(arguments.json)
    virtual = arguments.board in (None, "virtual")
    results = []
    columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn())
    # Drawing takes milliseconds, in which a whole window may pass: seldom is enough
    with Progress(*columns, console=console, refresh_per_second=2) as bar:
        for baud in arguments.baud or (BAUDS if virtual else [BAUD]):
            task = bar.add_task(f"{baud} baud: deploy", total=None)

            def report(what: str, done: int, total: int, task=task) -> None:
                bar.update(task, description=what, completed=done, total=total)

            opened = open_virtual(baud=baud) if virtual else open_board(arguments.board, baud)
            with opened as board:
                deploy(board)
                results += bench_link(board, baud, arguments.bytes, report)
                where = str(board.info)
    if virtual:
        where = "virtual board"
    console.print(link_table(results, where))
    outcome = {"board": where, "results": [result.as_dict() for result in results]}
    _write_json(arguments.json, outcome)
    return 0


@contextmanager
def _board(arguments: argparse.Namespace, console: Console) -> "Iterator[Board]":
    """The board that the options name, and a line that says which it is."""
    from .boards import open_board
    from .report import board_line

    with open_board(arguments.board, arguments.baud, arguments.firmware) as board:
        board_line(console, board.info)
        yield board


def _write_json(path: Path | None, result: object) -> None:
    if path is not None:
        path.write_text(json.dumps(result, indent=2) + "\n")


def _writable(path: Path | None) -> None:
    """Raises Attn8Error where a file cannot be written, before the work is done for nothing."""
    if path is None:
        return
    folder = path.absolute().parent
    if not folder.is_dir():
        raise Attn8Error(f"cannot write {path}: no such folder {folder}")
    if path.is_dir():
        raise Attn8Error(f"cannot write {path}: it is a folder; give a file in it")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise Attn8Error(f"cannot write {path}: no permission")


def _number(text: str) -> int | float | list[int]:
    """3, 0.5 or 0,2,5."""
    try:
        if "," in text:
            return [int(part) for part in text.split(",")]
        return float(text) if "." in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number or a list such as 0,2,5, got {text!r}"
        ) from None


def _option(text: str) -> tuple[str, object]:
    """NAME=VALUE, the value in JSON or a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _duration(text: str) -> float:
    with suppress(ValueError):
        if 0 < (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"expected a number of minutes above 0, got {text!r}")


def _command(to: Any, name: str, help: str, **options: Any) -> argparse.ArgumentParser:
    """A subcommand whose own --help says what the list of them says."""
    description = f"{help[0].upper()}{help[1:]}."
    return to.add_parser(name, help=help, description=description, **options)


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="attn8",
        description="int8 attention on an ESP32 from MicroPython, proven bit for bit with NumPy.",
        epilog="Exit status: 0; 1 if something differs, drifts or fits no chip; 2 if it could not.",
    )
    main.add_argument("--version", action="version", version=f"attn8 {__version__}")
    commands = main.add_subparsers(required=True, metavar="command")

    on_board = argparse.ArgumentParser(add_help=False)
    on_board.add_argument(
        "--board",
        metavar="BOARD",
        help="auto (default: a connected chip, else the virtual board), virtual, a serial port, "
        "a0, u0, c1, id:SERIAL, socket://HOST:PORT, rfc2217://HOST:PORT or qemu (or set "
        "ATTN8_BOARD)",
    )
    on_board.add_argument(
        "--baud", type=_positive,
        help="keep a serial line at this rate (default: ATTN8_BAUD, else 115200, and the link "
        "goes faster where both ends can)",
    )
    on_board.add_argument(
        "--firmware", type=Path, metavar="FILE",
        help="a .bin of micropython.org/download: what qemu runs (or set ATTN8_FIRMWARE), what "
        "flash writes",
    )

    command = _command(
        commands, "demo", parents=[on_board],
        help="classify handwritten digits on a board and prove it",
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    command.add_argument(
        "--png", type=Path, metavar="FILE", default=Path("attn8-attention.png"),
        help="the attention heat map (default: %(default)s)",
    )
    command.add_argument("--samples", type=_positive, metavar="N", help="digits (default: all)")
    command.set_defaults(run=demo)

    command = _command(
        commands, "run", parents=[on_board],
        help="run a model over your inputs on a board and prove it",
    )
    command.add_argument("model", type=Path, help="int8 model file (see attn8 quantize)")
    command.add_argument(
        "inputs", type=Path, metavar="inputs.npy",
        help="[samples, ...]: int8 as they are, other numbers over the model's input scale",
    )
    command.add_argument(
        "--output", type=Path, metavar="FILE", help="the board's tensors, as safetensors"
    )
    command.add_argument("--png", type=Path, metavar="FILE", help="the first attention weights")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    command.add_argument(
        "--no-weights", action="store_true",
        help="neither keep nor compare scores and weights: less memory on the board",
    )
    command.set_defaults(run=run)

    command = _command(
        commands, "flash", parents=[on_board], help="erase a chip and put MicroPython onto it"
    )
    command.add_argument(
        "--no-stub", action="store_true", help="only the ROM's own loader: slower, always there"
    )
    command.set_defaults(run=flash)

    command = _command(
        commands, "train", parents=[on_board], help="train a model on a board and prove every step"
    )
    command.add_argument(
        "what", choices=["iris", "digits"],
        help="iris: a transformer from scratch; digits: fine-tunes the demo's model and quantises "
        "it on the board",
    )
    command.add_argument("--shift", choices=["invert", "rotate"], default="invert",
                         help="digits: what happens to a tenth of them (default: %(default)s)")
    command.add_argument("--numbers", choices=["Q16.16", "Q8.8", "float"], default="Q16.16",
                         help="iris: fixed point, or the board's floats (default: %(default)s)")
    command.add_argument("--epochs", type=_positive, metavar="N",
                         help="default: 20 for iris, 3 for digits")
    command.add_argument("--batch", type=_positive, default=10, metavar="N",
                         help="samples of a step (default: %(default)s)")
    command.add_argument("--seed", type=_positive, default=1, metavar="N",
                         help="of the first weights and the samples' order (default: %(default)s)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    command.add_argument(
        "--png", type=Path, metavar="FILE", default=Path("attn8-training.png"),
        help="iris: loss and accuracy per epoch (default: %(default)s)",
    )
    command.set_defaults(run=train)

    command = _command(
        commands, "deploy", parents=[on_board], help="put the attn8 package onto a board"
    )
    command.add_argument("--source", action="store_true", help="send .py instead of .mpy files")
    command.add_argument(
        "--model", type=Path, metavar="FILE",
        help="put this model there as well",
    )
    command.add_argument("--boot", action="store_true", help="replace a boot.py that is there")
    command.add_argument("--dry-run", action="store_true", help="only say what would be done")
    command.set_defaults(run=deploy)

    command = _command(commands, "quantize", help="make an int8 model file from a float one")
    command.add_argument("model", type=Path, help="float32 model file (safetensors with a config)")
    command.add_argument(
        "--calibration", type=Path, required=True, metavar="FILE.npy",
        help="float inputs like those to come, [samples, ...]",
    )
    command.add_argument("--output", type=Path, required=True, metavar="FILE",
                         help="the int8 model file to write")
    command.set_defaults(run=quantize)

    command = _command(
        commands, "verify", parents=[on_board],
        help="prove every mechanism on a board and measure its cost",
    )
    command.add_argument(
        "--core", nargs="+", action="extend", metavar="NAME",
        help="mechanisms to verify (default: all)",
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    command.add_argument(
        "--png", type=Path, metavar="FILE", default=Path("attn8-cost.png"),
        help="the cost over seq_len (default: %(default)s)",
    )
    command.set_defaults(run=verify)

    command = _command(
        commands, "mask", parents=[on_board],
        help="sparse attention over images of digits on a board, beside dense attention",
    )
    command.add_argument(
        "name", metavar="NAME",
        help="full, causal, local_window W, global_indices I,J, local_global W I,J, "
        "block_diagonal B, strided W STRIDE, random LEVEL SEED, from_cut LAMBDA PARTS, "
        "hnsw [W LINKS] or mincut [PARTS LAMBDA]",
    )
    command.add_argument(
        "arguments", nargs="*", type=_number, metavar="ARGUMENT", help="of the mask"
    )
    command.add_argument(
        "--seq-len", type=_positive, metavar="N", default=48, help="tokens (default: %(default)s)"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    command.add_argument(
        "--png", type=Path, metavar="FILE", default=Path("attn8-mask.png"),
        help="the mask, the attention and its difference from dense (default: %(default)s)",
    )
    command.set_defaults(run=mask)

    command = _command(
        commands, "undeploy", parents=[on_board], help="remove the attn8 package from a board"
    )
    command.set_defaults(run=undeploy)

    command = _command(
        commands, "repl", parents=[on_board],
        help="a terminal on a board, with attn8 live from this computer",
    )
    command.set_defaults(run=repl)

    command = _command(
        commands, "soak", parents=[on_board],
        help="send requests without end and watch the board's heap",
    )
    command.add_argument("--minutes", type=_duration, metavar="N", default=1.0, help="(default: 1)")
    command.add_argument("--seed", type=int, default=0, help="of the random inputs (default: 0)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    command.set_defaults(run=soak)

    command = _command(
        commands, "plan",
        help="memory, flash and time of a model or one attention layer, without a board",
    )
    command.add_argument("--model", type=Path, metavar="FILE", help="int8 model file")
    command.add_argument("--seq-len", type=_positive, metavar="S", help="tokens of one layer")
    command.add_argument("--embed-dim", type=_positive, metavar="E", help="values of a token")
    command.add_argument("--heads", type=_positive, metavar="H", help="a divisor of E")
    command.add_argument("--core", default="exact", metavar="NAME", help="(default: %(default)s)")
    command.add_argument("--causal", action="store_true",
                         help="a token sees itself and those before it")
    command.add_argument(
        "--train", nargs="?", const="given", choices=["given", "iris", "digits"],
        help="what training takes: of what attn8 train trains, or of the layer or training file",
    )
    command.add_argument("--numbers", choices=["Q16.16", "Q8.8", "float"], default="Q16.16",
                         help="that iris or a layer trains in (default: %(default)s)")
    command.add_argument(
        "--option", type=_option, action="append", default=[], metavar="NAME=VALUE",
        help="of the core, such as window=16, block_size=16, features=32 or "
        "mask='[\"local_window\", 4]'; repeat for more",
    )
    command.add_argument(
        "--isa", choices=["xtensawin", "rv32imc"], default="xtensawin",
        help="ESP32 (default) or ESP32-C3 and C6",
    )
    command.add_argument(
        "--backend", choices=["viper", "turbo"], default="turbo",
        help="the kernels that are deployed (default: %(default)s)",
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the plan here as well")
    command.set_defaults(run=plan)

    command = _command(
        commands, "bench", parents=[on_board],
        help="what kernels and the attention layer cost; the link",
    )
    command.add_argument(
        "--isa", choices=["xtensawin", "rv32imc"],
        help="count the instructions of this architecture instead of timing a board",
    )
    command.add_argument(
        "--backend", choices=["viper", "turbo", "simd"],
        help="the kernels (default: viper, and turbo where the chip has them), or simd, which is "
        "experimental, on an ESP32-S3",
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    command.set_defaults(run=bench)
    what = command.add_subparsers(metavar="density|link")
    density = _command(
        what, "density", help="instructions of the sparse core against the density of its mask"
    )
    density.add_argument(
        "--isa", choices=["xtensawin", "rv32imc"], help="architecture (default: both)"
    )
    density.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    density.add_argument(
        "--png", type=Path, metavar="FILE", default=Path("attn8-density.png"),
        help="the curve (default: %(default)s)",
    )
    density.set_defaults(run=bench_density)
    command = _command(
        what, "link", help="bytes a second both ways, beside mpremote's fs cp"
    )
    command.add_argument(
        "--board", metavar="BOARD", help="as for demo; by default the virtual board at each rate"
    )
    command.add_argument(
        "--baud", type=_positive, action="append", metavar="N",
        help="rate of the line; repeat for more (default: 115200, 460800 and 921600)",
    )
    command.add_argument(
        "--bytes", type=_positive, metavar="N", default=8192, help="payload (default: %(default)s)"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    command.set_defaults(run=bench_link)

    command = _command(
        commands, "boards", parents=[on_board],
        help="list the boards that are connected; interrupts what they run",
    )
    command.add_argument("--json", action="store_true", help="print a list for programs")
    command.set_defaults(run=boards)
    actions = command.add_subparsers(metavar="action")
    start = _command(
        actions, "start", help="keep a virtual board running and print its port"
    )
    start.add_argument("what", choices=["virtual"], help="MicroPython's unix port")
    start.add_argument("--root", type=Path, metavar="DIR", help="its file system (default: new)")
    start.add_argument("--baud", type=_positive, help="rate of its serial line (default: no limit)")
    start.set_defaults(run=boards_start)
    return main


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status: 0, 1 (a proof failed) or 2 (it could not run)."""
    arguments = parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode shows ? for blocks
    console = Console()
    try:
        return arguments.run(arguments, console)
    except Attn8Error as error:
        print(f"attn8: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # of a file: those of boards are BoardErrors
        where = f"{error.filename}: " if error.filename else ""
        print(f"attn8: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("attn8: interrupted", file=sys.stderr)
        return 130
