"""A board that is gone in the middle of an epoch: the model stays as it was, here and there."""

import pytest

from attn8_host.boards import Board
from attn8_host.boards.virtual import VirtualBoard
from attn8_host.deploy import OWN_MODELS
from attn8_host.errors import Attn8Error
from attn8_host.model import load
from attn8_host.train import tune
from tests.test_train_tune import samples, write


def test_a_board_that_is_gone_in_an_epoch_leaves_the_model(tmp_path):
    path, made, root = (tmp_path / name for name in ("model", "made", "board"))
    write(path)
    old, base = path.read_bytes(), load(path, False)
    x, labels = samples()
    given = tune.rows(base.feed(x), [None] * len(x), base), labels
    virtual = VirtualBoard(root=root)

    def pull(what, done, _):
        if what.startswith("training (steps)") and done == 7:
            virtual.stop()

    with pytest.raises(Attn8Error), Board(virtual.port) as board:
        tune.tune(board, path, base, given, made, "last:2", epochs=4, advance=pull)
    assert path.read_bytes() == old and not list(tmp_path.glob("made*"))
    assert (root / f"{OWN_MODELS}/tuned.safetensors".lstrip("/")).read_bytes() == old
    again = VirtualBoard(root=root)
    try:
        with Board(again.port) as board:
            assert tune.tune(board, path, base, given, made, "last:2", epochs=2).bit_exact
    finally:
        again.stop()
    assert load(made)
