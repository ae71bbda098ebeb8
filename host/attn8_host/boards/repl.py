"""`attn8 repl`: mpremote's terminal on a board that imports attn8 from the checkout."""

import sys

from mpremote.commands import do_disconnect
from mpremote.main import State, argparse_repl
from mpremote.repl import do_repl

from ..errors import Attn8Error, BoardError
from ..paths import DEVICE
from .board import Board


def repl(board: Board) -> None:
    """Opens the REPL until Ctrl-] or Ctrl-x; `import attn8` takes this computer's files, live.

    The folder device/ is mounted as the board's current one. After an edit, Ctrl-D (a soft reset)
    makes the next import take the new text.

    Raises:
        Attn8Error: this is no terminal.
        BoardError: the board vanished.
    """
    if not sys.stdin.isatty():
        raise Attn8Error("attn8 repl needs a terminal; for scripts there is mpremote exec")
    state = State()
    state.transport = board.transport
    board.transport.mount_local(str(DEVICE))
    try:
        if do_repl(state, argparse_repl().parse_args([])):
            raise BoardError(f"the board at {board.info.port} is gone")
    finally:
        do_disconnect(state)
