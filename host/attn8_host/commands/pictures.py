"""Pictures as PNG files, drawn by matplotlib."""

from collections.abc import Mapping
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
) -> bool:
    """Draws each head's attention weights: a row of maps a layer.

    Args:
        path: of the PNG.
        outputs: a model's tensors for one input; LAYER.weights.H and LAYER.sums.H of each head.
        image: pixels of the input, drawn beside them under `title`.
        confusion: inputs [classes, classes] by (what they are, what the board says), in a column
            of its own.
        source: whose they are, in the title.

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
        _draw_confusion(beside, confusion)
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


def _draw_confusion(figure: Any, confusion: "np.ndarray") -> None:
    """Draws how often each class was taken for which, with the counts."""
    axis = figure.subplots()
    shares = confusion / confusion.sum(axis=1, keepdims=True).clip(1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    classes = range(len(confusion))
    if len(confusion) <= 30:
        axis.set(xticks=classes, yticks=classes)
        for row in classes:
            for column in classes:
                if confusion[row, column]:
                    axis.text(column, row, str(confusion[row, column]), ha="center", va="center",
                              fontsize="small",
                              color="white" if shares[row, column] > 0.5 else "black")
    axis.set(xlabel="what the board says", ylabel="what it is")
    right = float(confusion.trace() / confusion.sum())
    figure.suptitle(f"{right:.2%} of {confusion.sum()} inputs\n", fontsize="medium")
