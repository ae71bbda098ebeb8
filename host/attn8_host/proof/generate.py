"""Text that a board writes, each token proven against NumPy (`attn8 generate`)."""

import codecs
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from rich.console import Console
from rich.progress import Progress

from .. import float_model, modelfile, partition
from ..boards import Board
from ..deploy import MODELS, deploy, place, push
from ..errors import BoardError, ModelError, RemoteError
from ..isa import ARCHES
from ..model import Model
from ..needed import needed
from ..numerics.floating import softmax
from ..text import steps
from .run import COLUMNS

Step = Callable[[np.ndarray], np.ndarray]

SCRIPT = """
serve = None  # as a session has it, which spares the board the public names
import gc, time
gc.threshold(1024)  # what stays lies close together then, and leaves room in large pieces
from binascii import crc32
from attn8.model import load
from attn8.text import steps
model = load({path!r}, step=True)
gc.collect()
gc.threshold(-1)
print("ram", gc.mem_alloc())
start = time.ticks_us()
for token, logits in steps(model, {ids}, {tokens}, {temperature}, {top_p}, {seed}):
    spent = time.ticks_diff(time.ticks_us(), start)
    print(token, crc32(logits), spent)
    start = time.ticks_us()
print("end")
"""


@dataclass
class Request:
    """What to write: behind a prompt so many tokens, None as many as there is room for; and how
    they are chosen (see sampling.Sampler)."""

    prompt: str = ""
    tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 1


@dataclass
class Written:
    """What a board wrote and how; the keys of the JSON."""

    board: dict[str, Any]
    model: str
    prompt: str
    text: str
    tokens: list[int]  # behind those of the prompt
    prompt_tokens: int
    temperature: float
    top_p: float
    seed: int
    bit_exact: bool
    mismatches: int  # tokens whose logits, or whose choice, are not NumPy's
    tokens_per_second: float | None  # without the prompt's
    ram_bytes: int  # Python heap that the package, the model and its buffers take on the board
    top1_agreement_vs_float: float | None = None
    cross_entropy: float | None = None  # nats a token, of the text that was written
    cross_entropy_float: float | None = None
    instructions_per_token: int | None = None  # on a chip, at position 100, as attn8 plan has it

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def generate(
    board: Board, model: Model, path: Path, ids: list[int], request: Request, console: Console,
    piece: Callable[[str], None], floats: Step | None = None, data: bool = False,
) -> Written:
    """Deploys the package and a model and has the board write.

    Args:
        model: the reference of the model file `path`.
        ids: the prompt's (see text.encoded).
        piece: gets the prompt, and each piece of text when the board has made it.
        floats: the float model's step (see float_step), for what it thinks of the text.
        data: whether the model goes into the board's data partition, in place of a file.

    Raises:
        BoardError: there is no such partition, or it is too small; or the board was reset while it
            wrote.
        RemoteError: the model does not fit into its memory, or cannot be run there.
    """
    tokenizer = model.tokenizer
    assert tokenizer is not None  # as there are ids
    wanted = steps(model, ids, request.tokens, request.temperature, request.top_p, request.seed)
    board.enter_repl()
    with Progress(*COLUMNS, console=console) as bar:
        baseline = board.used_heap()  # before anything of attn8 is imported

        def progress(description: str) -> Callable[[int, int], None]:
            task = bar.add_task(description, visible=False)
            return lambda done, total: bar.update(task, completed=done, total=total, visible=True)

        content = path.read_bytes()
        target = partition.PATH if data else place(path)
        with board.keeping():
            deploy(board, progress=progress("device/ to /lib/attn8 (bytes)"),
                   needed=needed(model.config, content))
            if not data:
                push(board, target, content, progress(f"the model to {MODELS} (bytes)"))
        if data:
            partition.push(board, content, progress("the model to its partition (bytes)"))
        board.enter_repl()  # what deploying left in the heap lies where the model's caches are due
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    times: list[int] = []
    ram: list[int] = []
    text: list[str] = []
    tokens: list[int] = []
    logits: list[np.ndarray] = []
    equal: list[bool] = []

    def say(data: bytes, last: bool = False) -> None:
        found = decoder.decode(data, last)
        text.append(found)
        piece(found)

    for before, token in pairwise([tokenizer.begin, *ids]):
        say(tokenizer.decode(before, token))

    whole = False

    def line(said: str) -> None:
        nonlocal whole
        if said == "end":
            whole = True
            return
        first, *rest = said.split() or [""]
        try:
            if first == "ram":
                ram.append(int(rest[0]) - baseline)
                return
            token, digest, spent = map(int, (first, *rest))
        except ValueError:
            raise BoardError(f"the board says {said!r} where a token is due; was it reset?"
                             ) from None
        want, made = next(wanted, (None, np.zeros(0)))
        equal.append(want == token and crc32(made.tobytes()) == digest)
        if made.size:
            logits.append(made)
        before = tokens[-1] if tokens else ids[-1]
        tokens.append(token)
        times.append(spent)
        say(tokenizer.decode(before, token))

    try:
        board.follow(SCRIPT.format(
            path=target, ids=ids, tokens=request.tokens, temperature=request.temperature,
            top_p=request.top_p, seed=request.seed), line)
    except RemoteError as error:
        if error.kind != "MemoryError":
            raise
        raise RemoteError(f"{path}: does not fit into the board's memory; attn8 plan --model says "
                          "what it takes, and attn8 import --context makes it for fewer tokens",
                          error.kind) from None
    if not whole:
        raise BoardError(f"the board was reset behind {len(tokens)} tokens; run it again")
    say(b"", True)
    mismatches = equal.count(False) + (next(wanted, None) is not None)
    rest = times[1:]  # the first one comes with the prompt
    written = Written(
        board=board.info.as_dict(), model=model.name, prompt=request.prompt, text="".join(text),
        tokens=tokens, prompt_tokens=len(ids), temperature=request.temperature,
        top_p=request.top_p, seed=request.seed, bit_exact=mismatches == 0, mismatches=mismatches,
        tokens_per_second=len(rest) * 1e6 / sum(rest) if rest else None, ram_bytes=ram[0],
    )
    if board.info.arch in ARCHES:
        from ..plan.inference import predict

        written.instructions_per_token, _ = predict(model.config, model.tensors,
                                                    board.info.arch, "turbo")
    if logits and written.bit_exact:
        given = np.array(logits, np.float64) * model.config["layers"][-1]["scale"]
        written.cross_entropy = cross_entropy(given, tokens)
        if floats is not None:
            found = [floats(np.array([token], np.int16)) for token in [*ids, *tokens[:-1]]]
            others = np.array(found[len(ids) - 1 :], np.float64)
            written.cross_entropy_float = cross_entropy(others, tokens)
            written.top1_agreement_vs_float = float(
                (others.argmax(axis=1) == given.argmax(axis=1)).mean())
    return written


def cross_entropy(logits: np.ndarray, tokens: list[int]) -> float:
    """Mean of -log p in nats; logits [n, vocabulary] of the tokens [n]."""
    p = softmax(logits)[np.arange(len(tokens)), tokens]
    return float(-np.log(np.maximum(p, 1e-30)).mean())


def float_step(path: Path, model: Model) -> Step:
    """What gives a float model's logits [vocabulary] behind each further token, int16 [1].

    Raises:
        ModelError: the file cannot be read, or is another model.
    """
    config, tensors = modelfile.read(path)
    vocabulary = model.config["layers"][0]["vocab_size"]
    if config["layers"][0].get("vocab_size") != vocabulary:
        raise ModelError(f"{path}: expected a float model of {vocabulary} tokens")
    try:
        return float_model.stepping(config, tensors)
    except ModelError as error:
        raise ModelError(f"{path}: {error}; --float takes the float file") from None
