"""JSON nested 100,000 deep, in a header and in a config: a line of every command that reads one."""

import json

import numpy as np
import pytest

from attn8_host.cli import main

from .mutations import DEEP, assemble

NESTED = ["[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP]
LAYERS = '{"format": "attn8", "version": 1, "name": "a", "input": {"shape": [4]}, "layers": %s}'
BOARD = ["--board", "/dev/nosuch"]
COMMANDS = [
    ["quantize", "FILE", "--output", "out"], ["plan", "--model", "FILE"],
    ["run", "FILE", "in.npy", *BOARD], ["deploy", "--model", "FILE", *BOARD],
    ["train", "FILE", "data.npz", "--output", "out", *BOARD], ["generate", "FILE", *BOARD],
    ["import", "FILE", "--output", "out"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])
def test_it_is_refused_in_one_line(capsys, monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    np.save("in.npy", np.zeros((1, 4), np.int8))
    np.savez("data.npz", inputs=np.zeros((10, 4)), labels=np.zeros(10, int))
    for nested in NESTED:
        metadata = [json.dumps({"__metadata__": {"config": text}}).encode()
                    for text in (nested, LAYERS % nested)]
        for header in (b'{"a": ' + nested.encode() + b"}", *metadata):
            (tmp_path / "FILE").write_bytes(assemble(header, b""))
            assert main(command) == 2
            said = capsys.readouterr().err
            assert said.startswith("attn8: ") and len(said.splitlines()) == 1
            assert "FILE" in said and len(said) < 300
