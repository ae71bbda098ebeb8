"""`attn8 bench density`: when is a sparse mask worth it?"""

import argparse
import itertools
from functools import partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..parser import Command, Parser
from ..pictures import pyplot, save
from ..shared import add_isa, add_json, add_png, write_json


def options(parser: Parser) -> None:
    add_isa(parser, "architecture (default: both)")
    add_json(parser)
    add_png(parser, "the curve", "attn8-density.png")


def run(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import Progress

    from ...isa import ARCHES
    from ...proof.bench import density

    outcomes = []
    with Progress(console=console) as bar:
        for arch in [arguments.isa] if arguments.isa else ARCHES:
            task = bar.add_task(arch, total=density.RUNS)
            outcomes.append(density.measure(arch, partial(bar.advance, task)))
    for outcome in outcomes:
        console.print(table(outcome))
    draw(arguments.png, outcomes)
    console.out(f"picture: {arguments.png}", highlight=False)
    write_json(arguments.json, outcomes)
    return 0


def table(outcome: dict[str, Any]) -> Table:
    """What proof.bench.density counted for one architecture."""
    seq_len, head_dim = outcome["shape"]
    backends = outcome["backends"]
    table = Table(
        title=f"the sparse core on {outcome['isa']}, S = {seq_len}, D = {head_dim}",
        caption="instructions of the machine code, counted, and their ratio to the exact core's "
        "with the same backend: "
        + ", ".join(f"{name} {found['dense']:,}" for name, found in backends.items()),
        box=SIMPLE_HEAD,
    )
    table.add_column("mask")
    table.add_column("density", justify="right")
    for name in backends:
        table.add_column(name, justify="right")
        table.add_column("ratio", justify="right")
    for points in zip(*(found["points"] for found in backends.values()), strict=True):
        cells = [(f"{point['instructions']:,}", f"{point['ratio']:.3f}") for point in points]
        density = f"{points[0]['density']:.1%}"
        table.add_row(points[0]["mask"], density, *itertools.chain(*cells))
    return table


def draw(path: Path, outcomes: list[dict[str, Any]]) -> None:
    """Draws instructions against density, for each architecture and backend."""
    plt = pyplot()
    figure, axes = plt.subplots(
        1, len(outcomes), figsize=(5.5 * len(outcomes), 4.4), layout="constrained", squeeze=False
    )
    for axis, outcome in zip(axes[0], outcomes, strict=True):
        for number, (backend, found) in enumerate(outcome["backends"].items()):
            for name, line in zip(dict.fromkeys(p["mask"] for p in found["points"]), ("o-", "s:"),
                                  strict=True):  # fmt: skip
                points = [point for point in found["points"] if point["mask"] == name]
                axis.plot([p["density"] for p in points], [p["ratio"] for p in points], line,
                          color=f"C{number}", label=f"{backend}, {name}", markersize=4)  # fmt: skip
        axis.axhline(1, color="black", label="dense, same backend")
        axis.set(title=f"{outcome['isa']}, S = {outcome['shape'][0]}, D = {outcome['shape'][1]}",
                 xlabel="density of the mask", ylabel="instructions / dense core's",
                 xlim=(0, 1.02), ylim=(0, 1.2))  # fmt: skip
        axis.legend(fontsize="small")
        axis.grid(alpha=0.3)
    save(figure, path)


COMMAND = Command("instructions of the sparse core against the density of its mask", options, run)
