"""`attn8 verify`: every mechanism on a board, and what each costs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .parser import Command, Parser
from .pictures import pyplot, save
from .shared import add_board, add_json, add_png, opened, write_json

if TYPE_CHECKING:
    from ..proof.verify import CaseResult, Outcome


def options(parser: Parser) -> None:
    add_board(parser)
    parser.add_argument(
        "--core", nargs="+", action="extend", metavar="NAME",
        help="mechanisms to verify (default: all)",
    )
    add_json(parser)
    add_png(parser, "the cost over seq_len", "attn8-cost.png")
    parser.ignores(["--png"], _without_cost, "only cores of attention have a cost to draw")


def _without_cost(arguments: argparse.Namespace) -> bool:
    from ..cores import all_cores

    return bool(arguments.core) and not set(arguments.core) & set(all_cores())


def run(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    from ..deploy import deploy
    from ..proof.verify import chosen, run

    names = chosen(arguments.core)
    with opened(arguments, console) as board:
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("device/ to /lib/attn8", total=None)
            deploy(board, progress=lambda n, total: bar.update(task, completed=n, total=total))
            task = bar.add_task("mechanisms", total=None)
            outcome = run(
                board,
                names,
                lambda what, done, total: bar.update(
                    task, description=what, completed=done, total=total
                ),
            )
    console.print(mechanism_table(outcome))
    for failure in outcome.failures:
        console.out(failure, highlight=False)
    if outcome.cost:
        console.print(cost_table(outcome))
        draw(arguments.png, outcome)
        console.out(f"cost over seq_len: {arguments.png}", highlight=False)
    write_json(arguments.json, outcome.as_dict())
    return 0 if outcome.bit_exact else 1


def mechanism_table(outcome: "Outcome") -> Table:
    """A row per mechanism and variant."""
    table = Table(title="attn8 verify: the board against NumPy", box=SIMPLE_HEAD, pad_edge=False,
                  padding=0)
    table.add_column("mechanism", no_wrap=True)
    for column in ("n", "values", "wrong", "LSB", "cosine", "us", "RAM"):
        table.add_column(column, justify="right", no_wrap=True)
    groups: dict[tuple[str, str], list[CaseResult]] = {}
    for case in outcome.cases:
        groups.setdefault((case.mechanism, case.variant), []).append(case)
    for (mechanism, variant), cases in groups.items():
        ran = [case for case in cases if case.compared]
        wrong = sum(case.mismatches for case in ran)
        count = f"{len(ran)}" + ("" if ran == cases else f"/{len(cases)}")
        row: list[str | Text] = [f"{mechanism} {variant}", count]
        if ran:
            row += [
                f"{sum(case.compared for case in ran) / 1000:,.0f} k",
                Text(f"{wrong:,}", "red" if wrong else "green"),
                _error(ran),
                f"{min(case.cosine_vs_float for case in ran):.4f}",
                f"{max(case.device_us for case in ran):,.0f}",
                f"{max(case.ram_bytes for case in ran):,}",
            ]
        table.add_row(*row)
    table.caption = (
        "n: cases. LSB: largest error against the float form on the same int8 q, k, v, also where "
        "all inputs are extreme, and what it may be at most; of a whole encoder layer the mean, "
        "over the range. Time and RAM: of the largest case, the whole layer. Cases that do not fit "
        "the board's memory are left out."
    )
    return table


def _error(ran: "list[CaseResult]") -> Text:
    """The largest error, and what it may be where a bound is known."""
    first, far = ran[0], any(case.too_far for case in ran)
    if first.most_mean_error is not None:
        said = f"{max(case.mean_error for case in ran):.2%}≤{first.most_mean_error:.0%}"
    else:
        said = f"{max(case.max_lsb_vs_float for case in ran):.2f}"
        said += "" if first.most_lsb is None else f"≤{first.most_lsb:g}"
    return Text(said, "red" if far else "")


def cost_table(outcome: "Outcome") -> Table:
    """Time and heap of each mechanism over seq_len, in one head of 16."""
    lengths = sorted({cost.seq_len for cost in outcome.cost})
    table = Table(
        title="one inference over seq_len: us, bytes of heap", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("mechanism")
    for length in lengths:
        table.add_column(f"S={length}", justify="right")
    for mechanism in dict.fromkeys(cost.mechanism for cost in outcome.cost):
        found = {cost.seq_len: cost for cost in outcome.cost if cost.mechanism == mechanism}
        table.add_row(mechanism, *(
            Text.assemble(f"{found[n].device_us:,.0f}\n", (f"{found[n].ram_bytes:,}", "dim"))
            if n in found else "-"
            for n in lengths
        ))
    return table


def draw(path: Path, outcome: "Outcome") -> None:
    """Draws time and heap over seq_len, with what O(N) and O(N²) look like."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    lengths = sorted({cost.seq_len for cost in outcome.cost})
    colours = plt.get_cmap("tab20").colors[::2] + plt.get_cmap("tab20").colors[1::2]
    for axis, key, label in zip(axes, ("device_us", "ram_bytes"), ("time (us)", "heap (bytes)"),
                                strict=True):
        axis.set_prop_cycle(color=colours)
        for mechanism in dict.fromkeys(cost.mechanism for cost in outcome.cost):
            found = [cost for cost in outcome.cost if cost.mechanism == mechanism]
            axis.plot([c.seq_len for c in found], [getattr(c, key) for c in found], ".-",
                      label=mechanism)
        values = [getattr(cost, key) for cost in outcome.cost]
        for power, style in ((1, ":"), (2, "--")):  # from the lower left: the slope is what counts
            grown = [min(values) / 1.5 * (n / lengths[0]) ** power for n in lengths]
            axis.plot(lengths, grown, style, color="black",
                      label="O(N)" if power == 1 else "O(N²)")
        axis.set_ylim(min(values) / 2, 1.5 * max(values))
        axis.set(xscale="log", yscale="log", xlabel="seq_len", ylabel=label,
                 xticks=lengths, xticklabels=[f"{n:.0f}" for n in lengths])
        axis.yaxis.set_major_formatter("{x:,.0f}")
        axis.minorticks_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    figure.suptitle("One inference, one head of 16, on " + outcome.board["machine"])
    save(figure, path)


COMMAND = Command("prove every mechanism on a board and measure its cost", options, run, place=7)
