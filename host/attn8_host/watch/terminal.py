"""The same as the page shows, in the terminal."""

from collections.abc import Iterator

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..terminal import bars
from .history import History
from .results import WHOLE, About, Result

FRAMES = 8  # of the picture, a second
MAP = 16  # columns of an attention map at most
CHANNELS, CLASSES, LAYERS = 12, 12, 4  # rows of each at most
LONG = 1000  # lines of what is no terminal, and has room for all
LEVELS = " ░▒▓█"
# Colours of 0, 1/4, 1/2, 3/4 and 1 (viridis, as in the page)
RAMP = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])


class TerminalView:
    """A View: one picture that changes in place."""

    def __init__(self, console: Console):
        self._console = console
        self._about: About | None = None
        self._status = ""
        self._history: History[tuple[float, Result]] = History()
        self._live = Live(console=console, refresh_per_second=FRAMES,
                          get_renderable=self._picture)

    def __enter__(self) -> "TerminalView":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        if not self._console.is_terminal:  # where rich does not
            self._console.line()

    def about(self, about: About) -> None:
        self._about = about

    def status(self, state: str, text: str) -> None:
        self._status = text

    def result(self, seconds: float, result: Result) -> None:
        self._history.add((seconds, result))

    def _picture(self) -> RenderableType:
        about = self._about
        if about is None or not self._history.count:
            return Text(self._status, "dim")
        results = [result for _, result in self._history.since(0)]
        seconds = next(self._history.since(self._history.count - 1))[0]
        height = self._console.height if self._console.is_terminal else LONG
        return Group(*picture(about, results, self._history.count, seconds, self._status,
                              self._console.width, height))


def picture(
    about: About, results: list[Result], count: int, seconds: float, status: str, width: int,
    height: int,
) -> Iterator[RenderableType]:
    """What is shown of results, the last one above all; of each part as much as there is room for.

    Args:
        results: those that are kept.
        count: of all that came.
        seconds: when the last one did.
        width: of the terminal, in characters.
        height: in lines.
    """
    last = results[-1]
    room = max(10, width - 32)
    each = max(3, height // 6)
    channels = min(last.signal.shape[1], CHANNELS, each)
    classes = min(len(about.classes), CLASSES, each)
    left = height - 9 - channels - classes  # for attention, below what has a line of its own
    rows = max(2, min(MAP, 2 * (left - 1)))
    layers = min(len(about.layers), LAYERS, max(1, left // (1 + rows // 2)))
    yield Text(f"{about.model}  {about.board}", "bold", no_wrap=True, overflow="ellipsis")
    yield Text(f"result {count - 1}, {seconds:.1f} s  {status}", "dim", no_wrap=True,
               overflow="ellipsis")
    times = sorted(result.microseconds for result in results)
    used, total = last.heap
    gaps = f"; {last.gaps} gaps in the samples" if last.gaps else ""
    yield Text(f"time {last.microseconds:,} us, median {times[len(times) // 2]:,} us; "
               f"heap {used:,} of {total:,} bytes{gaps}", no_wrap=True, overflow="ellipsis")
    yield _heading(f"signal: {about.source}", channels, last.signal.shape[1], "channels")
    for c, values in enumerate(last.signal.T[:channels].astype(float)):
        yield Text(f"{c:3} {values[-1]:>12,.5g} {bars(values[-room:].tolist())}", no_wrap=True)
    yield _heading("probability, and how it was", classes, len(about.classes), "classes")
    table = Table.grid(padding=(0, 1))
    order = sorted(range(len(about.classes)), key=lambda c: -last.probabilities[c])[:classes]
    for c in sorted(order):
        past = "".join(LEVELS[round(result.probabilities[c] * (len(LEVELS) - 1))]
                       for result in results[-room:])
        style = "bold" if c == last.answer else ""
        table.add_row(Text(about.classes[c], style, no_wrap=True, overflow="ellipsis"),
                      Text(f"{last.probabilities[c]:4.0%}", style), Text(past, "cyan"))
    yield table
    whose = "as the board computed it" if last.by_board else "as NumPy computes it"
    yield _heading(f"attention, {whose}", layers, len(about.layers), "layers")
    at = 0
    for layer, (heads, *_) in list(about.layers.items())[:layers]:
        maps = last.maps[at : at + heads]
        at += heads
        if last.length is not None:
            maps = [each[: last.length, : last.length] for each in maps]
        top = max(1, *(int(each.max()) for each in maps))
        fit = max(1, (width - 2) // (MAP + 1))
        more = "" if heads <= fit else f", {fit} of {heads} heads"
        yield Text(f"{layer}: 0 to {top / WHOLE:.2f}{more}", "dim")
        drawn = [heat(pooled(each / top, rows)) for each in maps[:fit]]
        grid = Table.grid(padding=(0, 1))
        grid.add_row(*drawn)
        yield grid


def _heading(text: str, shown: int, of: int, what: str) -> Text:
    some = "" if shown >= of else f" ({shown} of {of} {what})"
    return Text(f"\n{text}{some}", "bold", no_wrap=True, overflow="ellipsis")


def pooled(shares: np.ndarray, rows: int = MAP) -> np.ndarray:
    """A map with at most so many rows, and MAP columns: the largest of those that fall together."""
    for axis, (size, most) in enumerate(zip(shares.shape, (rows, MAP), strict=True)):
        if size > most:
            edges = np.arange(most) * size // most
            shares = np.maximum.reduceat(shares, edges, axis=axis)
    return shares


def heat(shares: np.ndarray) -> Text:
    """A map, numbers [queries, keys] from 0 to 1, two rows a line."""
    places = np.clip(shares, 0, 1) * (len(RAMP) - 1)
    below = np.minimum(places.astype(int), len(RAMP) - 2)
    part = (places - below)[..., None]
    colours = np.rint(RAMP[below] * (1 - part) + RAMP[below + 1] * part).astype(int).tolist()
    text = Text()
    for row in range(0, len(colours), 2):
        for column, upper in enumerate(colours[row]):
            style = f"rgb({','.join(map(str, upper))})"
            if row + 1 < len(colours):
                style += f" on rgb({','.join(map(str, colours[row + 1][column]))})"
            text.append("▀", style)
        if row + 2 < len(colours):
            text.append("\n")
    return text
