"""`attn8 bench growth`: which core for how many tokens?"""

import argparse
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
    parser.add_argument("--core", action="append", metavar="NAME",
                        help="of docs/mechanisms.md; repeat for more (default: all)")
    add_json(parser)
    add_png(parser, "the curves", "attn8-growth.png")


def run(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import Progress

    from ... import cores
    from ...isa import ARCHES
    from ...proof.bench import growth

    names = arguments.core or list(cores.all_cores())
    outcomes = []
    with Progress(console=console) as bar:
        for arch in [arguments.isa] if arguments.isa else ARCHES:
            task = bar.add_task(arch, total=len(names) * len(growth.BACKENDS))
            outcomes.append(growth.measure(arch, names, partial(bar.advance, task)))
    for outcome in outcomes:
        for backend in outcome["backends"]:
            console.print(table(outcome, backend))
    draw(arguments.png, outcomes)
    console.out(f"picture: {arguments.png}", highlight=False)
    write_json(arguments.json, outcomes)
    return 0


def table(outcome: dict[str, Any], backend: str) -> Table:
    """What proof.bench.growth counted for one architecture, with one backend."""
    embed_dim, num_heads = outcome["shape"]
    found = outcome["backends"][backend]
    table = Table(
        title=f"thousands of instructions, {outcome['isa']}, {backend}, E = {embed_dim}, "
        f"H = {num_heads}",
        caption="counted; ~ continued from counts of fewer tokens", box=SIMPLE_HEAD,
    )
    table.add_column("tokens")
    for point in next(iter(found.values())):
        table.add_column(str(point["seq_len"]), justify="right")
    for name, points in found.items():
        table.add_row(name, *(f"{'' if p['counted'] else '~'}{p['instructions'] / 1000:,.0f}"
                              for p in points))
    return table


def draw(path: Path, outcomes: list[dict[str, Any]]) -> None:
    """Draws instructions against tokens: a column for each architecture, a row for each backend."""
    plt = pyplot()
    backends = list(outcomes[0]["backends"])
    figure, axes = plt.subplots(
        len(backends), len(outcomes), figsize=(5.5 * len(outcomes), 4 * len(backends)),
        layout="constrained", squeeze=False, sharex=True, sharey=True,
    )
    for row, backend in zip(axes, backends, strict=True):
        row[0].set_ylabel("instructions of a layer")
        for axis, outcome in zip(row, outcomes, strict=True):
            for number, (name, points) in enumerate(outcome["backends"][backend].items()):
                lengths = [p["seq_len"] for p in points]
                line, = axis.loglog(lengths, [p["instructions"] for p in points],
                                    "o-" if number < 5 else "s--", label=name, markersize=4)
                continued = [p for p in points if not p["counted"]]
                axis.loglog([p["seq_len"] for p in continued],
                            [p["instructions"] for p in continued], line.get_marker(),
                            color="white", markeredgecolor=line.get_color(), markersize=4)
            axis.set(title=f"{outcome['isa']}, {backend}", xticks=lengths,
                     xticklabels=map(str, lengths))
            axis.yaxis.set_major_formatter("{x:,.0f}")
            axis.minorticks_off()
            axis.grid(alpha=0.3)
    embed_dim, num_heads = outcomes[0]["shape"]
    for axis in axes[-1]:
        axis.set_xlabel(f"tokens, E = {embed_dim}, H = {num_heads}; hollow: continued")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    save(figure, path)


COMMAND = Command("instructions of an attention layer against its tokens, with each core and form",
                  options, run)  # fmt: skip
