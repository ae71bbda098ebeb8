"""What a person looks at: tables on the terminal, heat maps as PNG."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from .boards import find_boards
from .mask import MaskResult, Pictures
from .proof.compare import Verification


def _pyplot():
    """pyplot without a display, imported where something is drawn: that takes a while."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure, path: Path) -> None:
    """Writes a figure as PNG, whatever the file's name, and forgets it."""
    figure.savefig(path, dpi=120, format="png")
    _pyplot().close(figure)


def draw_attention(
    path: Path, outputs: dict[str, np.ndarray], image: np.ndarray | None = None, title: str = ""
) -> bool:
    """Draws each head's attention weights, as the board computed them: a row of maps a layer.

    Args:
        path: of the PNG.
        outputs: a model's tensors for one input; LAYER.weights.H and LAYER.sums.H of each head.
        image: pixels of the input, drawn beside them under `title`.

    Returns:
        False, with nothing drawn, where no tensor holds attention weights.
    """
    layers: dict[str, list[np.ndarray]] = {}
    for name, weights in outputs.items():
        layer, _, head = name.rpartition(".weights.")
        if layer:
            sums = outputs[f"{layer}.sums.{head}"][:, None]
            layers.setdefault(layer, []).append(weights / np.maximum(sums, 1))
    if not layers:
        return False

    plt = _pyplot()
    first = 0 if image is None else 1
    columns = first + max(map(len, layers.values()))
    figure, grid = plt.subplots(
        len(layers), columns, figsize=(3 * columns + 0.6, 3.3 * len(layers) + 0.6),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for axis in grid.flat:
        axis.set_axis_off()
    if image is not None:
        grid[0, 0].imshow(image, cmap="gray_r")
        grid[0, 0].set_title(title)
    for (layer, maps), axes in zip(layers.items(), grid[:, first:], strict=True):
        top = max(float(m.max()) for m in maps)
        for h, (axis, weights) in enumerate(zip(axes, maps, strict=False)):
            drawn = axis.imshow(weights, cmap="viridis", vmin=0, vmax=top)
            axis.set_axis_on()
            axis.set(title=f"{layer}, head {h}", xlabel="key (token)")
        axes[0].set_ylabel("query (token)")
        figure.colorbar(drawn, ax=list(axes), label="attention weight", shrink=0.85)
    figure.suptitle("Attention weights as the board computed them\n", fontsize="medium")
    _save(figure, path)
    return True


def demo_table(outcome, result: Verification) -> Table:
    """The demo's results (see demo.DemoResult) as a table."""
    return _table(f"attn8 demo: {outcome.samples} handwritten digits", outcome, result, [
        ("accuracy on the board", f"{outcome.accuracy:.2%}",
         f"float32 model: {outcome.float_accuracy:.2%}"),
        ("same answer as float32", f"{outcome.top1_agreement_vs_float:.2%}", "top-1 agreement"),
        ("cosine to float32", f"{outcome.cosine_vs_float:.5f}", "attention layer's output, mean"),
        ("max error to float", f"{outcome.max_lsb_vs_float:.3f} LSB",
         "attention; 0.5 is rounding"),
    ])  # fmt: skip


def run_table(outcome, result: Verification) -> Table:
    """The results of a run (see run.RunResult) as a table."""
    return _table(f"{outcome.model}: {outcome.samples} inputs", outcome, result, [])


def _table(title: str, outcome, result: Verification, rows: list[tuple[str, str, str]]) -> Table:
    table = Table(show_header=False, title=escape(title))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    board = outcome.board
    equal = "[green]every bit equal[/]" if outcome.bit_exact else "[red]NOT EQUAL[/]"
    for row in [
        ("board", board["kind"], board["machine"]),
        ("firmware", f"{board['implementation']} {board['version']}",
         f"{board['arch']}, {board['port']}"),
        ("compared with NumPy", f"{outcome.compared:,}", "int values, all layers, inputs"),
        ("mismatches", f"{outcome.mismatches:,}", equal),
        ("digest of all runs", outcome.digest, f"NumPy: {outcome.expected_digest}"),
        *rows,
        ("time per inference", f"{outcome.device_us_per_inference:,.0f} us",
         "median, this computer's speed" if board["kind"] == "virtual"
         else "median, clocked by the board"),
        ("RAM", f"{outcome.ram_bytes:,} bytes", "heap: package, model, buffers"),
        ("link", f"{outcome.link_bytes_per_s:,.0f} bytes/s",
         f"both ways, {outcome.link_retries} frames sent again"),
    ]:  # fmt: skip
        table.add_row(*row)
    for name, count in result.mismatched.most_common(5):
        table.add_row("", f"{count:,}", f"[red]values differ in {escape(name)}[/]")
    return table


def mechanism_table(outcome) -> Table:
    """What `attn8 verify` found (see verify.run.Outcome), a row per mechanism and variant."""
    table = Table(title="attn8 verify: the board against NumPy", box=SIMPLE_HEAD, pad_edge=False,
                  padding=0)
    table.add_column("mechanism", no_wrap=True)
    for column in ("cases", "values", "wrong", "LSB", "cosine", "us", "RAM"):
        table.add_column(column, justify="right", no_wrap=True)
    groups: dict[tuple[str, str], list] = {}
    for case in outcome.cases:
        groups.setdefault((case.mechanism, case.variant), []).append(case)
    for (mechanism, variant), cases in groups.items():
        ran = [case for case in cases if case.compared]
        wrong = sum(case.mismatches for case in ran)
        row = [f"{mechanism} {variant}", f"{len(ran)}" + ("" if ran == cases else f"/{len(cases)}")]
        if ran:
            row += [
                f"{sum(case.compared for case in ran) / 1000:,.0f} k",
                f"[{'red' if wrong else 'green'}]{wrong:,}[/]",
                f"{max(case.max_lsb_vs_float for case in ran):.2f}",
                f"{min(case.cosine_vs_float for case in ran):.4f}",
                f"{max(case.device_us for case in ran):,.0f}",
                f"{max(case.ram_bytes for case in ran):,}",
            ]
        table.add_row(*row)
    table.caption = (
        "LSB: largest error against the float form on the same int8 q, k, v, also where all inputs "
        "are extreme. Time and RAM: of the largest case, the whole layer. Cases that do not fit "
        "the board's memory are left out."
    )
    return table


def cost_table(outcome) -> Table:
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
            f"{found[n].device_us:,.0f}\n[dim]{found[n].ram_bytes:,}[/]" if n in found else "-"
            for n in lengths
        ))
    return table


def draw_cost(path: Path, outcome) -> None:
    """Draws time and heap over seq_len, with what O(N) and O(N^2) look like."""
    plt = _pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    lengths = np.array(sorted({cost.seq_len for cost in outcome.cost}), float)
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
            axis.plot(lengths, min(values) / 1.5 * (lengths / lengths[0]) ** power, style,
                      color="black", label="O(N)" if power == 1 else "O(N^2)")
        axis.set_ylim(min(values) / 2, 1.5 * max(values))
        axis.set(xscale="log", yscale="log", xlabel="seq_len", ylabel=label,
                 xticks=lengths, xticklabels=[f"{n:.0f}" for n in lengths])
        axis.minorticks_off()
    axes[0].legend(fontsize="small")
    figure.suptitle("One inference, one head of 16, on " + outcome.board["machine"])
    _save(figure, path)


@contextlib.contextmanager
def progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars by description; yields a function of (description, done, total)."""
    columns = (
        TextColumn("{task.description:<30}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield advance


def training_table(outcome) -> Table:
    """The results of a training (see train.Outcome) as a table."""
    title = f"attn8 train {outcome.model}: {outcome.numbers}"
    return _training_table(title, outcome, "all tensors", [
        ("test accuracy", f"{outcome.test_accuracy:.2%}", "saved, reset, loaded again"),
        ("in float64", f"{outcome.float64_test_accuracy:.2%}", "same data in the same order"),
    ])  # fmt: skip


def tuning_table(outcome) -> Table:
    """The results of fine-tuning (see train.TuneOutcome) as a table."""
    return _training_table(f"attn8 train digits: a tenth {outcome.shift}ed", outcome,
                           "training and int8 inference", [
        ("int8 accuracy before", f"{outcome.accuracy_before:.2%}",
         f"of the shifted tenth {outcome.shifted_before:.2%}"),
        ("int8 accuracy after", f"{outcome.accuracy_after:.2%}",
         f"of the shifted tenth {outcome.shifted_after:.2%}"),
    ])  # fmt: skip


def _training_table(title: str, outcome, compared: str, rows: list[tuple[str, str, str]]) -> Table:
    table = Table(show_header=False, title=title)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    equal = {True: "[green]every bit equal[/]", False: "[red]NOT EQUAL[/]", None: "not compared"}
    first, last = outcome.history[0], outcome.history[-1]
    overflows = f"{outcome.overflows:,}", "in all steps"
    if outcome.overflows_grow:
        overflows = f"[red]{overflows[0]}[/]", "[red]still in the last epoch: lr too high[/]"
    for row in [
        ("board", outcome.board["kind"], outcome.board["machine"]),
        *rows,
        ("loss", f"{last.loss:.4f}", f"in the first epoch {first.loss:.4f}"),
        ("steps", f"{outcome.steps:,}", f"{outcome.epochs} epochs, {outcome.batch} samples a step"),
        ("compared with NumPy", equal[outcome.bit_exact], f"{compared}, all steps"),
        ("values that saturated", *overflows),
        ("time per step", f"{outcome.device_us_per_step:,.0f} us",
         "median, clocked by the board" + (" (this computer's speed)"
                                           if outcome.board["kind"] == "virtual" else "")),
        ("RAM", f"{outcome.ram_bytes:,} bytes", "Python heap of the model in training"),
    ]:
        table.add_row(*row)
    return table


def draw_training(path: Path, outcome) -> None:
    """Draws loss and accuracy of every epoch, on the board and in float64."""
    plt = _pyplot()
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
    _save(figure, path)


def boards_table(found: list[dict]) -> Table:
    """What `attn8 boards` found: what each board says that it is, or why it says nothing."""
    table = Table("port", "chip", "firmware", "free heap")
    for board in found:
        if "error" in board:
            table.add_row(board["port"], f"[red]{escape(board['error'])}[/]")
            continue
        firmware = f"{board['implementation']} {board['version']}"
        table.add_row(
            board["port"], escape(f"{board['machine']} ({board['arch']})"), firmware,
            f"{board['free_heap']:,} bytes",
        )
    return table


def link_table(results, where: str) -> Table:
    """The link's throughput (see bench.link.Result) as a table."""
    table = Table(title=f"attn8 bench link: {results[0].payload_bytes:,} bytes, {where}")
    for heading in ("baud", "direction", "bytes/s", "of the line", "mpremote fs cp", "faster"):
        table.add_column(heading, justify="left" if heading == "direction" else "right")
    for result in results:
        table.add_row(
            str(result.baud),
            result.direction.replace("_", " "),
            f"{result.bytes_per_s:,.0f}",
            f"{result.line_rate_fraction:.1%}",
            f"{result.mpremote_bytes_per_s:,.0f}",
            f"{result.bytes_per_s / result.mpremote_bytes_per_s:.1f} x",
        )
    return table


def soak_table(outcome) -> Table:
    """What a soak test saw (see soak.Soak)."""
    table = Table(show_header=False, title=f"attn8 soak: {outcome.seconds / 60:.1f} minutes")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    rows = [
        ("requests", outcome.requests, f"{outcome.inferences:,} inferences; else random bytes"),
        ("compared", outcome.compared, "int values and bytes"),
        ("wrong", outcome.wrong, "must be 0"),
        ("faults seen", outcome.faults, "losses and damage on the line, all repaired"),
        ("reconnects", outcome.reconnects, "the board or its port went away and came back"),
        ("heap drift", outcome.heap_drift, "bytes on the board; must be 0"),
    ]
    for name, value, what in rows:
        table.add_row(name, f"{value:,}", what)
    return table


def plan_table(planned) -> Table:
    """What a model would take on a board (see plan.Plan)."""
    table = Table(
        title=f"attn8 plan: {escape(planned.name)}, {planned.backend} kernels of {planned.arch}",
        caption="Predicted: memory by MicroPython's object layout, instructions by counting, "
        f"times at {planned.cycles_per_instruction} cycles an instruction",
    )
    table.add_column("what", overflow="fold")
    table.add_column("", justify="right")
    for name, size in planned.buffers.items():
        table.add_row(escape(name), f"{size:,} bytes", style="dim")
    for name, size in planned.required.items():
        table.add_row(f"{escape(name)}, required at once", f"{size:,} bytes")
    rows = [
        ("RAM of the model, objects included", planned.ram),
        ("the most that is held while it loads", planned.load_peak),
        ("the package's own code", planned.package),
        ("peak heap, both together", planned.peak_heap),
        ("RAM for machine code, not of the heap", planned.exec_ram),
        ("flash, package and model", planned.flash),
    ]
    for what, size in rows:
        table.add_row(what, f"{size:,} bytes")
    if planned.instructions:
        table.add_row("instructions of an inference", f"{planned.instructions:,}")
    for clock, time in planned.milliseconds.items():
        table.add_row(f"time at {clock}", f"{time:,} ms")
    for chip, fits in planned.fits.items():
        table.add_row(f"fits {chip}", "yes" if fits else "no")
    return table


def train_plan_table(planned) -> Table:
    """What training a model would take on a board (see plan_train.TrainPlan)."""
    table = Table(
        title=f"attn8 plan --train: {escape(planned.memory.name)}, {planned.batch} samples a step",
        caption="Predicted: memory by MicroPython's object layout and by formula, instructions by "
        f"counting, times at {planned.memory.cycles_per_instruction} cycles an instruction; per "
        "MAC: the kernels alone",
    )
    table.add_column("what")
    for heading in ("bytes", *planned.cost):
        table.add_column(heading, justify="right")
    rows = [(f"{name}: arrays by formula", size) for name, size in planned.attention.items()]
    rows += [
        ("RAM of the model in training", planned.memory.ram),
        ("RAM with recompute", planned.recompute_ram),
        ("the most that is held while it loads", planned.memory.load_peak),
        ("the package's own code", planned.memory.package),
        ("peak heap, both together", planned.memory.peak_heap),
    ]
    for what, size in rows:
        if size is not None:
            table.add_row(what, f"{size:,}")
    costs = planned.cost.values()
    if costs:
        for what in ("forward_per_mac", "backward_per_mac", "forward", "backward", "update",
                     "step"):
            table.add_row(f"instructions, {what.replace('_', ' ').replace('mac', 'MAC')}", "",
                          *(f"{getattr(cost, what):,}" for cost in costs))
        for clock in next(iter(costs)).milliseconds:
            table.add_row(f"a step at {clock}", "",
                          *(f"{cost.milliseconds[clock]:,} ms" for cost in costs))
    for chip, fits in planned.memory.fits.items():
        table.add_row(f"fits {chip}", "yes" if fits else "no")
    return table


def bench_table(outcome: dict) -> Table:
    """What the kernels and the layer cost (see bench.count and bench.on_board)."""
    from .proof.bench.count import LAYERS

    counted = "isa" in outcome
    table = Table(title=f"attn8 bench: {outcome.get('isa') or outcome['board']}")
    table.add_column(outcome["method"])
    table.add_column("shape", justify="right")
    table.add_column("instructions" if counted else "us", justify="right")
    table.add_column("per" if counted else "ns per MAC", justify="right" if not counted else "left")
    layers = [outcome[key] for key in LAYERS if outcome.get(key)]
    for row in outcome["kernels"] + layers + outcome.get("experimental", []):
        shape = " x ".join(str(n) for n in row["shape"])
        if not counted:
            values = f"{row['microseconds']:,}", f"{row['ns_per_mac']:.1f}"
        elif "instructions_per_score" in row:
            values = f"{row['instructions_per_score']:.2f}", "score"
        else:
            values = f"{row['instructions_per_mac']:.2f}", "MAC"
        table.add_row(row["name"], shape, *values)
    return table


def board_line(console: Console, info) -> None:
    """Says which board is used."""
    kind = "the virtual board" if info.kind == "virtual" else "the board"
    if info.kind == "virtual" and not find_boards():
        kind += " (no chip is connected)"
    console.print(f"Using {kind}: {info}", highlight=False, markup=False)


def mask_table(result: MaskResult) -> Table:
    """The results of `attn8 mask`."""
    table = Table(show_header=False, title=f"attn8 mask {result.mask}")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    pairs = result.seq_len**2
    equal = "[green]every bit equal[/]" if result.bit_exact else "[red]NOT EQUAL[/]"
    share = f"of {pairs:,}: {result.num_positions / pairs:.1%}"
    table.add_row("pairs", f"{result.num_positions:,}", share)
    table.add_row("recall", f"{result.recall:.1%}", "of dense attention's 8 top keys a query")
    table.add_row(
        "difference", f"{result.mean_difference:.2f} LSB", "of the outputs from dense ones, mean"
    )
    table.add_row("compared with NumPy", f"{result.compared:,}", equal)
    return table


def draw_mask(path: Path, title: str, pictures: Pictures) -> None:
    """Draws a mask, the attention that it yields, and what that differs in from dense attention."""
    plt = _pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(12.6, 4.2), layout="constrained")
    axes[0].imshow(pictures.mask, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    drawn = axes[1].imshow(pictures.sparse, cmap="viridis", vmin=0, interpolation="nearest")
    figure.colorbar(drawn, ax=axes[1], label="attention weight", shrink=0.85)
    difference = pictures.sparse - pictures.dense
    most = max(float(np.abs(difference).max()), 1e-9)
    drawn = axes[2].imshow(difference, cmap="RdBu_r", vmin=-most, vmax=most,
                           interpolation="nearest")  # fmt: skip
    figure.colorbar(drawn, ax=axes[2], label="difference of the weights", shrink=0.85)
    names = ("pairs that attend", "attention on the board", "less dense attention")
    for axis, name in zip(axes, names, strict=True):
        axis.set(title=name, xlabel="key (token)")
    axes[0].set_ylabel("query (token)")
    figure.suptitle(f"{title}: tokens are images of digits, sorted by digit", fontsize="medium")
    _save(figure, path)


def density_table(outcome: dict) -> Table:
    """What bench.density.measure counted, as a table."""
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


def draw_density(path: Path, outcomes: list[dict]) -> None:
    """Draws instructions against density, for each architecture and backend."""
    plt = _pyplot()
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
    _save(figure, path)
