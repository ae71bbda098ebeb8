"""Follows a board, through its losses, to the end."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..boards import Board
from ..deploy import deploy, place, push
from ..errors import Attn8Error, BoardError, LinkError
from ..model import Model
from ..needed import needed
from .results import About, Result, View

PATIENCE = 60  # seconds that a board that went away has to come back
RETRY = 0.5  # seconds between two looks whether it did

# Of a board that has the model at a path: gives so many results
Source = Callable[[Board, str, int | None, Callable[[Result], None]], None]


def follow(
    open_board: Callable[[], Board], model: Model, path: Path, source: Source, about: About,
    views: Sequence[View], most: int | None = None,
) -> int:
    """Puts a model onto a board and shows its results, until there are `most`.

    A board that is lost in the middle is looked for again.

    Args:
        open_board: opens it, at the start and after it was lost.
        model: the reference of the model file `path`.
        source: what gives results.
        about: what is shown besides; `board` is filled in.
        views: where.
        most: results; None: until Ctrl-C.

    Returns:
        How many there were.

    Raises:
        Attn8Error: there is no board, it did not come back within a minute, or it refuses; the
            views have said so.
    """
    count = 0
    start = heard = 0.0

    def said(state: str, text: str) -> None:
        for view in views:
            view.status(state, text)

    def take(result: Result) -> None:
        nonlocal count, heard, start
        heard = time.monotonic()
        start = start if count else heard
        count += 1
        for view in views:
            view.result(heard - start, result)

    try:
        while most is None or count < most:
            try:
                with open_board() as board:
                    said("starting", f"puts the model onto {board.info}")
                    data, target = path.read_bytes(), place(path)
                    with board.keeping():
                        deploy(board, needed=needed(model.config, data))
                        push(board, target, data)
                    for view in views:
                        view.about(replace(about, board=str(board.info)))
                    said("live", "live")
                    source(board, target, None if most is None else most - count, take)
            except (BoardError, LinkError) as error:
                if not count or time.monotonic() - heard > PATIENCE:
                    raise
                said("lost", f"the board is lost and looked for again: {error}")
                time.sleep(RETRY)
    except Attn8Error as error:
        said("ended", f"ended: {error}")
        raise
    except KeyboardInterrupt:
        said("ended", "ended: interrupted")
        raise
    said("ended", f"ended after {count} results")
    return count
