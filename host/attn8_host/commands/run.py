"""`attn8 run`: a model over inputs of one's own."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import ModelError
from ..terminal import printable
from .parser import Command, Parser
from .pictures import draw_attention
from .shared import add_board, add_json, add_png, equal, facts, opened, write_json

if TYPE_CHECKING:
    import numpy as np

    from ..proof.compare import Verification
    from ..proof.run import RunResult


def options(parser: Parser) -> None:
    add_board(parser)
    parser.add_argument("model", type=Path, help="int8 model file (see attn8 quantize)")
    parser.add_argument(
        "inputs", type=Path, metavar="inputs.npy",
        help="[samples, ...]: int8 as they are, other numbers as the sensor gives them",
    )
    parser.add_argument(
        "--labels", type=Path, metavar="FILE.npy",
        help="whole numbers [samples], what each input is: for accuracy and a confusion matrix",
    )
    parser.add_argument(
        "--lengths", type=Path, metavar="LENGTHS.npy",
        help="[samples]: how many tokens of each input count, where the model takes lengths",
    )
    parser.add_output("--output", "the board's tensors, as safetensors")
    add_png(parser, "the first attention weights, and the confusion matrix,")
    add_json(parser)
    parser.add_argument(
        "--no-weights", action="store_true",
        help="neither keep nor compare scores and weights: less memory on the board; without it, "
        "so where there is too little",
    )
    parser.ignores(["--png"], lambda a: a.no_weights and a.labels is None,
                   "--no-weights leaves nothing to draw")


def run(arguments: argparse.Namespace, console: Console) -> int:
    import numpy as np
    from safetensors.numpy import save

    from .. import inputs
    from ..feed import clamped
    from ..model import load
    from ..proof.classes import Classified
    from ..proof.run import run

    need_weights = not arguments.no_weights
    model = load(arguments.model, need_weights)
    if "text" in model.config:  # a board has what such a one takes a token at a time
        raise ModelError(f"{arguments.model}: it takes text; attn8 generate compares each token "
                         "that it writes")
    samples = inputs.read(arguments.inputs, model.config)
    lengths = inputs.read_lengths(arguments.lengths, model.config, len(samples))
    classified, names = None, [str(c) for c in range(model.output_size)]
    if arguments.labels:
        labels = inputs.read_labels(arguments.labels, len(samples), model.output_size)
        classified = Classified(labels, model.output_size)
        for path in (arguments.labels, arguments.inputs):
            found = inputs.read_names(path) or []
            if len(found) == model.output_size:  # else they are of another model's classes
                names = [printable(name) for name in found]
                break
    try:
        fed = inputs.integers(samples, model)
    except ModelError as error:
        raise ModelError(f"{arguments.model}: {error}") from None
    if samples.dtype != np.int8:
        for warning in clamped(model.config, model.tensors, samples):
            console.print(f"warning: {warning}", highlight=False, markup=False)
    with opened(arguments, console) as board:
        outcome, result = run(board, model, arguments.model, fed, console, need_weights, lengths)
    more = probabilities(model.config, result)
    if classified:
        classified.count([found[model.output] for found in result.outputs])
        more += [("accuracy on the board", f"{classified.accuracy:.2%}", "of the labels")]
    console.print(run_facts(f"{outcome.model}: {outcome.samples} inputs", outcome, result, more))
    if classified:
        console.print(confusion_table(classified.confusion, names))
    confusion = classified.confusion if classified else None
    if arguments.png and not draw_attention(arguments.png, result.outputs[0], confusion=confusion,
                                            names=names):
        console.print("no attention weights to draw")
    if arguments.output:
        outputs = result.outputs
        stacked = {name: np.stack([o[name] for o in outputs]) for name in outputs[0]}
        arguments.output.write_bytes(save(stacked))
    write_json(arguments.json, outcome.as_dict() | (classified.as_dict() if classified else {}))
    return 0 if outcome.bit_exact else 1


def probabilities(
    config: dict[str, Any], result: "Verification"
) -> list[tuple[str, str, str]]:
    """What a softmax at the end says: the largest probabilities of its rows, as a row."""
    entry = config["layers"][-1]
    if entry["type"] != "softmax":
        return []
    largest = [out[entry["name"]].max(axis=1) / 2**15 for out in result.outputs]
    mean, low = sum(found.mean() for found in largest) / len(largest), min(map(min, largest))
    return [("probability of the answer", f"{mean:.3f}", f"mean; the lowest {low:.3f}")]


def run_facts(
    title: str, outcome: "RunResult", result: "Verification",
    more: list[tuple[str, str, str]] | None = None,
) -> Table:
    """What a run found, with more rows in the middle, and which tensors differ."""
    board = outcome.board
    table = facts(title, [
        ("board", board["kind"], board["machine"]),
        ("firmware", f"{board['implementation']} {board['version']}",
         f"{board['arch']}, {board['port']}"),
        ("compared with NumPy", f"{outcome.compared:,}", "int values, all layers, inputs"),
        ("mismatches", f"{outcome.mismatches:,}", equal(outcome.bit_exact)),
        ("digest of all runs", outcome.digest, f"NumPy: {outcome.expected_digest}"),
        *(more or []),
        ("time per inference", f"{outcome.device_us_per_inference:,.0f} us",
         "median, this computer's speed" if board["kind"] == "virtual"
         else "median, clocked by the board"),
        ("of 95 % at most", f"{outcome.p95_us:,.0f} us", f"of all, {outcome.max_us:,.0f} us"),
        ("RAM", f"{outcome.ram_bytes:,} bytes", "heap: package, model, buffers"),
        ("link", f"{outcome.link_bytes_per_s:,.0f} bytes/s",
         f"both ways, {outcome.link_retries} frames sent again"),
    ])  # fmt: skip
    for name, count in result.mismatched.most_common(5):
        table.add_row("", f"{count:,}", Text(f"values differ in {name}", "red"))
    return table


def confusion_table(confusion: "np.ndarray", names: list[str]) -> Table:
    """A row a class: what the board said of the inputs that are it. names: of the classes."""
    table = Table(title="What is (rows), and what the board says it is (columns)")
    table.add_column("", style="bold", justify="right")
    for name in names:
        table.add_column(Text(name), justify="right")
    for c, row in enumerate(confusion):
        table.add_row(Text(names[c]), *(
            Text(str(n), style="dim" if not n else "green" if c == k else "red")
            for k, n in enumerate(row.tolist())))
    return table


COMMAND = Command("run a model over your inputs on a board and prove it", options, run, place=2)
