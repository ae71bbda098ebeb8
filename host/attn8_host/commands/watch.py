"""`attn8 watch`: a model at work, live, on a page of this computer or in the terminal."""

import argparse
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..errors import Attn8Error, ModelError
from .parser import Command, Parser
from .record import labels
from .shared import add_board, below, board_line

if TYPE_CHECKING:
    from ..model import Model
    from ..watch.follow import Source
    from ..watch.played import Recording
    from ..watch.results import About, View
    from ..watch.server import Server
    from ..watch.terminal import TerminalView

HEAP = "1M"  # of the virtual board, which has room for all attention weights


def options(parser: Parser) -> None:
    parser.add_argument("model", type=Path, nargs="?", help="int8 model file (see attn8 quantize)")
    add_board(parser)
    parser.add_argument("--demo", metavar="NAME", nargs="?", const="speakers",
                        help="speakers (default) or digits: a model that comes along, and its data")
    parser.add_argument("--recording", type=Path, metavar="FILE",
                        help="windows to play, over and over: a .npz of attn8 record, or a .npy")
    parser.add_argument("--speed", type=below(1000), default=10,
                        help="windows of a recording a second (default: %(default)s)")
    parser.add_argument("--sensor", type=Path, metavar="FILE.py",
                        help="the driver of the board's sensor, as attn8 record takes it")
    parser.add_argument("--rate", type=below(1000), default=50,
                        help="samples of the sensor a second (default: %(default)s)")
    parser.add_argument("--hop", type=below(100_000), default=10,
                        help="samples from one result to the next (default: %(default)s)")
    parser.add_argument("--names", type=labels, help="of the classes, such as rest,wave")
    parser.add_argument("--no-weights", action="store_true",
                        help="NumPy computes the attention maps, from what the board was given: "
                        "less memory and a shorter line; so where the board has too little")
    parser.add_argument("--terminal", action="store_true", help="show it here; serve no page")
    parser.add_argument("--port", type=below(65535), metavar="N",
                        help="of the page (default: any that is free)")
    parser.add_argument("--results", type=below(10**9), metavar="N",
                        help="end after so many (default: with Ctrl-C)")
    parser.ignores(["--port"], lambda a: a.terminal, "--terminal serves no page")
    parser.ignores(["--recording", "--sensor", "--names"], lambda a: a.demo is not None,
                   "--demo has a signal and classes of its own")
    parser.ignores(["--recording", "--speed"], lambda a: a.sensor is not None,
                   "--sensor gives the signal")
    parser.ignores(["--rate", "--hop"], lambda a: a.sensor is None,
                   "without --sensor a recording is played, with --speed")


def run(arguments: argparse.Namespace, console: Console) -> int:
    from ..boards import Board, open_board
    from ..watch.follow import follow

    path, model, source, about = _chosen(arguments)

    def opened() -> Board:
        board = open_board(arguments.board, arguments.baud, arguments.firmware, HEAP)
        board_line(console, board.info, arguments.board)
        return board

    with ExitStack() as stack:
        view: View
        if arguments.terminal:
            view = stack.enter_context(_terminal(console))
        else:
            view = stack.enter_context(_page(arguments.port or 0))
            console.print(f"Open {view.address} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
        follow(opened, model, path, source, about, [view], arguments.results)
    return 0


def _terminal(console: Console) -> "TerminalView":
    from ..watch.terminal import TerminalView

    return TerminalView(console)


def _page(port: int) -> "Server":
    try:
        from ..watch.server import Server
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "websockets":  # nor one that is too old
            raise
        raise Attn8Error("the page needs websockets: python -m pip install 'attn8[watch]'; or take "
                         "--terminal") from None
    return Server(port)


def _chosen(arguments: argparse.Namespace) -> "tuple[Path, Model, Source, About]":
    """The model's file, the model, what gives results, and what is said of them."""
    from ..model import load
    from ..record import source as text
    from ..watch import played, sensed
    from ..watch.results import About, Shown

    keep, shape = not arguments.no_weights, None
    if arguments.demo is not None:
        if arguments.model:
            raise Attn8Error(f"{arguments.model}: --demo brings its own model; leave it out")
        path, recording, title, shape = _demo(arguments.demo)
        model = load(path)
    elif arguments.model is None:
        raise Attn8Error("which model? Name a file, or take --demo")
    else:
        path, title = arguments.model, str(arguments.recording or arguments.sensor)
        model = load(path)
        if arguments.recording:
            recording = played.read(arguments.recording, model)
        elif arguments.sensor:
            driver = text(arguments.sensor)
        else:
            raise Attn8Error("where does the signal come from? Take --sensor FILE.py, or "
                             "--recording FILE without one")
    try:
        if arguments.sensor:
            shown = Shown(model, arguments.names)
            sensed.require(model)
            source = partial(sensed.sense, shown=shown, driver=driver, keep=keep,
                             hop=arguments.hop, rate=arguments.rate)
        else:
            shown = Shown(model, arguments.names or recording.names)
            source = partial(played.play, shown=shown, recording=recording, keep=keep,
                             speed=arguments.speed)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    about = About(model.name, shown.classes, shown.layers, title, picture=shape,
                  rate=arguments.rate if arguments.sensor else None)
    return path, model, source, about


def _demo(name: str) -> "tuple[Path, Recording, str, tuple[int, int] | None]":
    """The model's file of a demo, its data, what these are, and their shape if they are images."""
    from ..paths import MODELS
    from ..proof.demo import demos
    from ..watch.played import Recording

    demo = demos().get(name)
    if demo is None:
        raise Attn8Error(f"--demo {name}: no such demo; there are {', '.join(demos())}")
    data = demo.read()
    lengths: list[int | None] = [*data.lengths] if data.lengths else [None] * len(data.inputs)
    recording = Recording(data.inputs, lengths, data.labels, list(demo.answers))
    return MODELS / f"{name}.safetensors", recording, demo.title, demo.picture


COMMAND = Command("watch a model at work on a board, live, on a page or here", options, run,
                  place=3.7)
