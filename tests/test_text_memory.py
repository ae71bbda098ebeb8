"""What the stories take of a board's memory: by plan, as a board reports it, and with no more."""

import io

import pytest
from rich.console import Console

from attn8_host import modelfile
from attn8_host.boards.virtual import open_virtual
from attn8_host.cli import main
from attn8_host.deploy import deploy, push
from attn8_host.errors import RemoteError
from attn8_host.layers.grouped_attention import cache_size
from attn8_host.model import load
from attn8_host.paths import MODELS
from attn8_host.plan.inference import plan
from attn8_host.proof.generate import Request, generate
from attn8_host.text import encoded
from tests.compiled import compiled

STORIES = MODELS / "stories.safetensors"
CONTEXT = 192
BUDGET = 140_000  # bytes of heap for all by plan: package, server and model
# A heap of the unix port, whose words have 8 bytes, in which they load: bytes in pieces, as plan
# does not count them
HEAP = "250K"
PATH = "/models/stories.safetensors"

# With a server and without the public names, as plan counts
MEASURE = f"""
serve = None
import gc
gc.collect()
start = gc.mem_alloc()
from attn8.link.server import Server
server = Server()
from attn8.model import load
server._model = load({PATH!r}, step=True, weights="stream")
import attn8.text
def room(n=100):
    if n:
        return room(n - 1)
    gc.collect()
    return gc.mem_alloc() - start
print(room())
"""


# As a user does at the REPL, again and again
TWICE = f"""
import attn8, gc
from attn8.link.server import Server
server = Server()
def tell():
    gc.collect()
    server._model = model = attn8.load({PATH!r}, step=True, weights="stream")
    print("".join(attn8.generate(model, "Once upon a time", 12)))
tell()
server._model = None
tell()
"""

NARROW = f"""
import attn8
from attn8.layers.grouped_attention import GroupedAttention
def _piece(self, kv):
    return bytearray(1 << 29)  # there is none as large
GroupedAttention._piece = _piece
attn8.load({PATH!r}, step=True, weights="stream")
"""

# What is held for what stays leaves too little for the header
IN_THE_WAY = f"""
import attn8, attn8.pool
def room():
    held = []
    try:
        while True:
            held.append(bytearray(4096))
    except MemoryError:
        del held[-2:]
        print("held")
        return held
attn8.pool.room = room
model = attn8.load({PATH!r}, step=True, weights="stream")
print("".join(attn8.generate(model, "Once upon a time", 3)))
"""


def resized(context):
    """(config, tensors) of the stories with room for so many tokens, as attn8 import --context."""
    config, tensors = modelfile.read(STORIES)
    config["input"]["shape"] = [context]
    del config["arena"]
    for entry in config["layers"]:
        entry.pop("at", None)
        for key in ("seq_len", "rows"):
            if entry.get(key) == CONTEXT:
                entry[key] = context
    return config, tensors


@pytest.mark.parametrize("arch", ["xtensawin", "rv32imc"])
def test_192_tokens_take_less_than_140_kb(arch):
    planned = plan(*modelfile.read(STORIES), arch, predicted=lambda: (0, 0))
    caches = sum(size for name, size in planned.buffers.items()
                 if name.endswith((".keys", ".values", ".key_steps", ".value_steps")))
    assert caches == 5 * CONTEXT * 4 * (2 * 8 + 2)
    assert caches == sum(map(cache_size, modelfile.read(STORIES)[0]["layers"]))
    assert planned.peak_heap <= BUDGET


def test_plan_says_what_a_board_reports():
    planned = plan(*modelfile.read(STORIES), backend="viper", word=8, predicted=lambda: (0, 0))
    with open_virtual(heap_size="2M") as board:
        deploy(board)
        push(board, PATH, STORIES.read_bytes())
        board.enter_repl()
        found = board.evaluate(compiled(MEASURE), int)
    assert planned.ram + planned.server + planned.package == pytest.approx(found, rel=0.05)


def test_192_tokens_load_and_load_again_in_a_heap_that_gets_into_pieces():
    with open_virtual(heap_size=HEAP) as board:
        deploy(board)
        push(board, PATH, STORIES.read_bytes())
        board.enter_repl()
        once, again = board.execute(compiled(TWICE)).strip().splitlines()
    assert once == again == "Once upon a time, there was a little girl named Lily. She"


@pytest.mark.board("virtual")
def test_what_is_held_for_what_stays_goes_where_it_is_in_the_way(board):
    push(board, PATH, modelfile.pack(*resized(16)))
    board.enter_repl()
    said = board.execute(compiled(IN_THE_WAY)).split("\n")
    assert [line.strip() for line in said if line] == ["held", "Once upon a time, there was"]
    board.enter_repl()


@pytest.mark.board("virtual")
def test_what_finds_no_piece_of_memory_is_said_with_what_is_free(board, remote):
    push(board, PATH, modelfile.pack(*resized(16)))
    board.enter_repl()
    with pytest.raises(RemoteError, match=r"stories.safetensors needs memory in larger pieces than "
                                          r"are free \(memory allocation failed, allocating \d+ "
                                          r"bytes; \d+ bytes are free in all\)"):
        remote(compiled(NARROW))
    board.enter_repl()


def test_the_demo_writes_in_160_kb():
    assert main(["generate", "--tokens", "3", "--board", "virtual"]) == 0


def test_a_cache_of_512_tokens_has_a_larger_heap_on_the_virtual_board(tmp_path, capsys):
    path = tmp_path / "stories512.safetensors"
    modelfile.write(path, *resized(512))
    assert main(["generate", str(path), "--tokens", "3", "--board", "virtual"]) == 0
    assert "Its cache takes 184,320 bytes, for which" in capsys.readouterr().out


@pytest.mark.board("virtual")
def test_what_does_not_fit_is_said_in_one_line_and_the_board_goes_on(board, tmp_path):
    console = Console(file=io.StringIO())
    for context, fits in ((256, False), (16, True)):
        path = tmp_path / f"stories{context}.safetensors"
        modelfile.write(path, *resized(context))
        model = load(path, False)
        arguments = (board, model, path, encoded(model, "Once"), Request("", 3), console,
                     lambda text: None)
        if fits:
            assert generate(*arguments).bit_exact
            continue
        with pytest.raises(RemoteError) as refused:
            generate(*arguments)
        assert str(refused.value) == (
            f"{path}: does not fit into the board's memory; attn8 plan --model says what it takes, "
            "and attn8 import --context makes it for fewer tokens")


@pytest.mark.board("virtual")  # in its default heap, that of an ESP32 without PSRAM
def test_an_esp32s_heap_has_room_for_64_tokens(board, tmp_path):
    config, tensors = resized(64)
    for arch in ("xtensawin", "rv32imc"):
        assert plan(config, tensors, arch, predicted=lambda: (0, 0)).fits["ESP32"]
    path = tmp_path / "stories64.safetensors"
    modelfile.write(path, config, tensors)
    model = load(path, False)
    ids, console = encoded(model, "Once upon a time"), Console(file=io.StringIO())
    for request in Request("", None), Request("", 20, 0.9, 0.8, 3):
        written = generate(board, model, path, ids, request, console, lambda text: None)
        assert written.bit_exact and len(written.tokens) == (request.tokens or 65 - len(ids))
