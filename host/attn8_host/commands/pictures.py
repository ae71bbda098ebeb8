"""Pictures as PNG files, drawn by matplotlib."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..terminal import printable

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure


def pyplot() -> Any:
    """pyplot without a display, imported where something is drawn: that takes a while."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False  # what is drawn is text
    import matplotlib.pyplot as plt

    return plt


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure as PNG, whatever the file's name, and forgets it."""
    figure.savefig(path, dpi=120, format="png")
    pyplot().close(figure)


def draw_attention(
    path: Path,
    outputs: "Mapping[str, np.ndarray]",
    image: "np.ndarray | None" = None,
    title: str = "",
    confusion: "np.ndarray | None" = None,
    source: str = "as the board computed them",
    names: Sequence[str] | None = None,
) -> bool:
    """Draws each head's attention weights: a row of maps a layer.

    Args:
        path: of the PNG.
        outputs: a model's tensors for one input; LAYER.weights.H and LAYER.sums.H of each head.
        image: pixels of the input, drawn beside them under `title`.
        confusion: inputs [classes, classes] by (what they are, what the board says), in a column
            of its own.
        source: whose they are, in the title.
        names: of the classes; None: their numbers.

    Returns:
        False, with nothing drawn, where there is neither of both.
    """
    import numpy as np

    layers: dict[str, list[np.ndarray]] = {}
    for name, weights in outputs.items():
        layer, _, head = name.rpartition(".weights.")
        if layer:
            sums = outputs[f"{layer}.sums.{head}"][:, None]
            layers.setdefault(layer, []).append(weights / np.maximum(sums, 1))
    if not layers and confusion is None:
        return False

    plt = pyplot()
    first = 0 if image is None else 1
    columns = first + max(map(len, layers.values()), default=0)
    side = 0 if confusion is None else max(4.0, 0.4 * len(confusion) + 1.5)
    width, height = 3 * columns + 0.6 if layers else 0, 3.3 * len(layers) + 0.6
    figure = plt.figure(figsize=(width + side, max(height, side)), layout="constrained")
    if confusion is not None:
        if layers:
            maps_figure, beside = figure.subfigures(1, 2, width_ratios=(width, side))
        else:
            beside = figure
        _draw_confusion(beside, confusion, names)
        if not layers:
            save(figure, path)
            return True
    else:
        maps_figure = figure
    grid = maps_figure.subplots(len(layers), columns, squeeze=False)
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
            axis.set(title=printable(f"{layer}\nhead {h}"), xlabel="key (token)")
        axes[0].set_ylabel("query (token)")
        maps_figure.colorbar(drawn, ax=list(axes), label="attention weight", shrink=0.85)
    maps_figure.suptitle(f"Attention weights {source}\n", fontsize="medium")
    save(figure, path)
    return True


WIDTH = 76  # characters of a line


def draw_shaded(
    path: Path, pieces: list[str], shares: "Mapping[str, np.ndarray]", title: str
) -> None:
    """Draws a text for each layer, its tokens the darker the larger their shares are.

    Args:
        path: of the PNG.
        pieces: of each token; "": it is no text.
        shares: of each layer, [tokens].
        title: what they are.
    """
    from matplotlib.colors import LinearSegmentedColormap

    places = wrapped(pieces)
    line = places[-1][0]
    colors = LinearSegmentedColormap.from_list("shares", ["white", "#b2182b"])
    figure, axes = pyplot().subplots(
        len(shares), 1, squeeze=False, layout="constrained",
        figsize=(WIDTH * 0.085 + 0.3, len(shares) * ((line + 1) * 0.25 + 0.35) + 0.4))
    for axis, (name, each) in zip(axes[:, 0], shares.items(), strict=True):
        seen = [share if piece else 0.0 for piece, share in zip(pieces, each, strict=True)]
        axis.set(xlim=(0, WIDTH), ylim=(line + 1, 0))
        axis.set_axis_off()
        axis.set_title(printable(name), loc="left", fontsize="small")
        for piece, (row, at), share in zip(pieces, places, seen, strict=True):
            level = share / (max(seen) or 1.0)
            axis.fill_between((at, at + len(piece)), row, row + 1, color=colors(level), linewidth=0)
            for i, character in enumerate(piece):
                axis.text(at + i + 0.5, row + 0.5, character, ha="center", va="center",
                          family="monospace", fontsize=9,
                          color="white" if level > 0.5 else "black")
    figure.suptitle(printable(title), fontsize="medium")
    save(figure, path)


def wrapped(pieces: list[str]) -> list[tuple[int, int]]:
    """Line and column of each piece of a text: words are whole where a line has room for them, and
    what a line begins with is no space."""
    places = []
    line = column = 0
    for i, piece in enumerate(pieces):
        word = [piece]
        if piece[:1] == " ":
            word += takewhile(lambda each: each[:1] != " ", pieces[i + 1 :])
        length = sum(map(len, word))
        if column > 0 and column + (length if length <= WIDTH else len(piece)) > WIDTH:
            line, column = line + 1, -1 if piece[:1] == " " else 0
        places.append((line, column))
        column += len(piece)
    return places


def _draw_confusion(
    figure: Any, confusion: "np.ndarray", names: Sequence[str] | None
) -> None:
    """Draws how often each class was taken for which, with the counts."""
    axis = figure.subplots()
    shares = confusion / confusion.sum(axis=1, keepdims=True).clip(1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    classes = range(len(confusion))
    if len(confusion) <= 30:
        axis.set(xticks=classes, yticks=classes)
        if names:
            long = max(map(len, names)) > 3
            axis.set_xticklabels(names, rotation=30 if long else 0, parse_math=False,
                                 ha="right" if long else "center")
            axis.set_yticklabels(names, parse_math=False)
        for row in classes:
            for column in classes:
                if confusion[row, column]:
                    axis.text(column, row, str(confusion[row, column]), ha="center", va="center",
                              fontsize="small",
                              color="white" if shares[row, column] > 0.5 else "black")
    axis.set(xlabel="what the board says", ylabel="what it is")
    right = float(confusion.trace() / confusion.sum())
    figure.suptitle(f"{right:.2%} of {confusion.sum()} inputs\n", fontsize="medium")
