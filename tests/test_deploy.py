"""Deployment sends what differs and nothing else."""

import json

from attn8_host.boards import open_board
from attn8_host.deploy import LIB, compile_device, deploy
from attn8_host.paths import DEVICE


def test_only_changes_are_sent():
    with open_board("virtual") as board:
        first = deploy(board)
        assert first.sent == first.files > 10
        assert deploy(board).sent == 0
        board.execute(f"open('{LIB}/stale.py', 'w').close()\nopen('{LIB}/checks.mpy', 'w').close()")
        assert deploy(board).sent == 1
        assert "stale.py" not in board.execute(f"import os\nprint(os.listdir('{LIB}'))")
        source = deploy(board, source=True)
        assert source.sent == source.files
        used = board.execute("from attn8 import ReLU\nprint(list(ReLU(2)(b'\\xff\\x05')))")
        assert used == "[0, 5]\n"


def test_it_compiles_for_the_chips():
    for arch in ("xtensawin", "rv32imc", "x64"):
        files = compile_device(arch)
        assert files["kernels/matmul.mpy"][:2] == b"M\x06"


def test_the_mip_manifest_lists_the_whole_package():
    manifest = json.loads((DEVICE.parent / "package.json").read_text())
    listed = {source for _, source in manifest["urls"]}
    package = (DEVICE / "attn8").rglob("*.py")
    assert listed == {path.relative_to(DEVICE.parent).as_posix() for path in package}
