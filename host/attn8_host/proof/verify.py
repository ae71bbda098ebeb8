"""`attn8 verify`: every mechanism on a board against NumPy, and what each costs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .. import cores, modelfile
from ..boards import Board
from ..deploy import OWN_MODELS, push
from ..errors import Attn8Error, RemoteError
from ..model import Model
from ..numerics import floating
from .cases import Case, cost_cases, generator, mechanisms
from .compare import Verification, verify

PATH = f"{OWN_MODELS}/verify.safetensors"
# Prints statements that import what of attn8 is imported
IMPORTS = """
import sys
import attn8.unload
attn8.unload.Unload._own = lambda self, parts: ()  # a load forgets nothing that it imports
attn8.load({path!r})
for name in sys.modules:
    if name.startswith("attn8") and name != "attn8.unload":  # which forgets itself
        print("import", name)
"""
REPEATS = 9  # of a timed inference; what else a computer does only adds to some


@dataclass
class CaseResult:
    """One case; the keys of the JSON's `cases`."""

    mechanism: str
    variant: str
    shape: dict[str, int]
    bit_exact: bool = False
    compared: int = 0  # int values
    mismatches: int = 0
    max_lsb_vs_float: float = 0.0  # int8 steps, against the float form on the same int8 operands
    cosine_vs_float: float = 0.0
    mean_error: float = 0.0  # over the largest magnitude of the float form
    most_lsb: float | None = None  # that there may be
    most_mean_error: float | None = None
    device_us: float = 0.0  # the quickest of some inferences
    ram_bytes: int = 0  # Python heap that the loaded model takes, parameters and buffers
    skipped: str = ""  # the board's MemoryError: it does not fit there
    refused: str = ""  # the board's line of any other error


    @property
    def too_far(self) -> str:
        """By how much it is further from floats than it may be; empty where it is not."""
        if self.most_lsb is not None and self.max_lsb_vs_float > self.most_lsb:
            return f"off by {self.max_lsb_vs_float:.3f} LSB, more than {self.most_lsb:g}"
        if self.most_mean_error is not None and self.mean_error > self.most_mean_error:
            return f"off by {self.mean_error:.2%} on average, more than {self.most_mean_error:.0%}"
        return ""


@dataclass
class Cost:
    """What a mechanism takes at one length; a row of the JSON's `cost`."""

    mechanism: str
    seq_len: int
    device_us: float
    ram_bytes: int


@dataclass
class Outcome:
    """All that `attn8 verify` found."""

    board: dict[str, Any]
    mechanisms: list[str]  # that were to be verified
    cases: list[CaseResult] = field(default_factory=list)
    cost: list[Cost] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """What failed, a line each: a case that differs or was refused, a mechanism without any."""
        ran = [case for case in self.cases if not case.skipped]
        wrong = [f"{case.mechanism} {case.variant} {case.shape}: "
                 + (f"refused: {case.refused}" if case.refused else "differs")
                 for case in ran if not case.bit_exact]
        wrong += [f"{case.mechanism} {case.variant} {case.shape}: {said}" for case in ran
                  if (said := case.too_far)]
        compared = {case.mechanism for case in ran}
        return wrong + [f"{name}: no case ran" for name in self.mechanisms if name not in compared]

    @property
    def bit_exact(self) -> bool:
        """True if a case of every mechanism was compared, and every one that fits was equal."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        return {"bit_exact": self.bit_exact, **asdict(self)}


def chosen(names: Sequence[str] | None = None) -> list[str]:
    """The mechanisms of these names, by default all.

    Raises:
        Attn8Error: there is no such mechanism.
    """
    known = mechanisms()
    for name in names or ():
        if name not in known:
            raise Attn8Error(f"no such mechanism: {name}; expected {', '.join(sorted(known))}")
    return list(names or known)


def run(
    board: Board,
    names: Sequence[str] | None = None,
    advance: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Outcome:
    """Runs the cases of some mechanisms, by default of all, on a board with the package on it.

    Args:
        board: see deploy.
        names: of mechanisms.
        advance: called with what comes next, cases done and cases in all.

    Raises:
        Attn8Error: there is no such mechanism.
    """
    known = mechanisms()
    names = chosen(names)
    cases = [case for name in names for case in known[name](generator(name))]
    with_core = [name for name in names if name in cores.all_cores()]
    costs = [case for name in with_core for case in cost_cases(name, generator(name))]
    outcome = Outcome(board.info.as_dict(), names)
    total = len(cases) + len(costs)
    for done, case in enumerate(cases):
        advance(case.mechanism, done, total)
        outcome.cases.append(prove(board, case))
    for done, case in enumerate(costs, len(cases)):
        advance("cost", done, total)
        send(board, case)
        try:
            us, ram = measure(board, case)
        except RemoteError as error:
            if error.kind != "MemoryError":
                refused = CaseResult(case.mechanism, "cost", case.shape, refused=str(error))
                outcome.cases.append(refused)
            continue
        outcome.cost.append(Cost(case.mechanism, case.shape["seq_len"], us, ram))
    advance("done", total, total)
    return outcome


def prove(board: Board, case: Case) -> CaseResult:
    """Sends one case to the board, compares all it computes, and measures it."""
    result = CaseResult(case.mechanism, case.variant, case.shape, most_lsb=case.most_lsb,
                        most_mean_error=case.most_mean_error)
    send(board, case)
    try:
        found = compare(board, case)
        result.device_us, result.ram_bytes = measure(board, case)
    except RemoteError as error:
        if error.kind == "MemoryError":
            result.skipped = str(error)
        else:
            result.refused = str(error)
        return result
    given = zip(found.outputs, case.inputs, case.lengths or case.inputs, strict=True)
    pairs = [case.floats({**outputs, "input": x, "length": length}) for outputs, x, length in given]
    got = np.concatenate([g.ravel() for g, _ in pairs]).astype(np.float64)
    want = np.concatenate([w.ravel() for _, w in pairs])
    result.bit_exact = found.bit_exact
    result.compared, result.mismatches = found.compared, found.mismatches
    result.max_lsb_vs_float = float(np.abs(got - want).max())
    result.mean_error = float(np.abs(got - want).mean() / (np.abs(want).max() or 1.0))
    result.cosine_vs_float = floating.cosine(got, want)
    return result


def send(board: Board, case: Case) -> None:
    """Puts the case's model file onto the board, freshly started: its memory is in one piece."""
    board.enter_repl()
    push(board, PATH, modelfile.pack(case.config, case.tensors))


def compare(board: Board, case: Case) -> Verification:
    """Streams the case's inputs and compares every tensor."""
    model = Model(case.config, case.tensors, case.need_weights)
    with board.serve() as client:
        client.load(PATH, case.need_weights)
        return verify(client, model, case.inputs, lengths=case.lengths)


def measure(board: Board, case: Case) -> tuple[float, int]:
    """(microseconds of the quickest inference, bytes of heap that the model takes)."""
    with board.serve() as client:
        client.load(PATH, need_weights=False)
        times = [client.run(case.inputs[0].tobytes()) for _ in range(REPEATS)]
    return min(times), held(board)


def held(board: Board) -> int:
    """Bytes of heap that the model takes, without the code that was imported to run it.

    A collector also keeps what only a forgotten word on the stack points to. So the board starts
    afresh, with no model before this one, and the heap is measured while no program runs.
    """
    board.enter_repl()
    imports = board.execute(IMPORTS.format(path=PATH))
    board.enter_repl()
    board.execute(imports)
    before = board.used_heap()
    board.execute(f"model = attn8.load({PATH!r})")
    used = board.used_heap()
    board.execute("del model")
    return used - before
