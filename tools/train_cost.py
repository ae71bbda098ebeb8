"""Count what training costs: instructions per multiply-accumulate on both chips, words of memory.

    python -m tools.train_cost

The device's own layers run here, in CPython; their kernels run as the chips' machine code in the
instruction emulators, in machine code where a form has them. What is counted is the kernels; the
calls between them come on top.
"""

from array import array
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table

from attn8_host import forms, isa
from attn8_host.isa.device import Device, machine_of, overlap, part, same, typecode, view
from attn8_host.isa.importer import Importer, module
from attn8_host.layers import get
from attn8_host.paths import DEVICE

SHAPES = [(4, 8, 2), (8, 16, 2), (16, 32, 4), (32, 64, 4)]  # seq_len, embed_dim, num_heads
KERNELS = ("kernels.fixed", "kernels.fixed_optimizers", "forms.viper.fixed_product",
           "forms.viper.fixed_softmax", "forms.viper.fixed_words")


class Meter:
    """Runs kernels on one chip's emulator; counts instructions and multiply-accumulates."""

    def __init__(self, arch: str):
        self.machines = {name: _machine(name, arch) for name in KERNELS}
        self.room = Device(arch, "turbo").load("attn8.forms").choose("fixed_product").room
        self.instructions = self.macs = 0

    def call(self, module: str, name: str, *arguments: Any) -> int:
        machine = self.machines[module]
        placed = {i: machine.buffer(bytes(a)) for i, a in enumerate(arguments)
                  if isinstance(a, (array, bytearray))}
        result = machine.call(name, *(placed.get(i, a) for i, a in enumerate(arguments)))
        for i, buffer in placed.items():
            buffer.check_guards()
            memoryview(arguments[i]).cast("B")[:] = buffer.read().tobytes()
        machine.reset()
        self.instructions += machine.instructions
        if name == "matmul":
            rows, inner, cols = (arguments[8][i] for i in (0, 1, 8))
            self.macs += rows * inner * cols
        return result

    def measure(self, function: Callable[..., object], *arguments: object) -> tuple[int, int]:
        """(instructions, multiply-accumulates) of one call."""
        self.instructions = self.macs = 0
        function(*arguments)
        return self.instructions, self.macs


def _machine(name: str, arch: str) -> isa.Machine:
    """The kernels of a module; those of a family in machine code where the chip has it."""
    for form in forms.machine_forms():
        family = name.rpartition(".")[2]
        if "viper" in name and arch == forms.target(form).ISA and family in forms.families(form):
            return machine_of(form, family)
    return isa.load(DEVICE / "attn8" / f"{name.replace('.', '/')}.py", arch)


def device(meter: Meter) -> tuple[ModuleType, ModuleType]:
    """The device's train.layers.attention and train.arithmetic, over the meter's kernels."""
    kernels = {}
    for name in KERNELS:
        made = {function: partial(meter.call, name, function)
                for function in meter.machines[name].functions}
        if name.endswith("fixed_product"):
            made["room"] = meter.room
        kernels[f"attn8.{name}"] = module(name, **made)
    kernels["attn8.kernels.objects"] = module("objects", typecode=typecode, overlap=overlap,
                                               same=same, view=view, part=part)
    importer = Importer(kernels)
    return importer.load("attn8.train.layers.attention"), importer.load("attn8.train.arithmetic")


def numbers(n: int) -> array:
    """Words within +-1/2."""
    return array("i", [(i * 40503) % 65536 - 32768 for i in range(n)])


def words(seq_len: int, embed_dim: int, num_heads: int, recompute: bool) -> int:
    """What an attention layer takes, by its formula."""
    sizes = {"seq_len": seq_len, "embed_dim": embed_dim, "num_heads": num_heads}
    found = get("attention").training_words({**sizes, "recompute": recompute})
    assert found is not None
    return found


def main() -> None:
    table = Table(title="MultiHeadAttention: instructions per multiply-accumulate, Q16.16")
    columns = ("S", "E", "H", *(f"{a}\n{way}" for a in isa.ISAS
               for way in ("forward", "backward")), "bytes", "recompute\nbytes")
    for column in columns:
        table.add_column(column, justify="right")
    for shape in SHAPES:
        row = [str(n) for n in shape]
        for arch in isa.ISAS:
            meter = Meter(arch)
            attention, formats = device(meter)
            f = formats.get("Q16.16")
            layer = attention.MultiHeadAttention(f, "attn", *shape)
            x = f.zeros(shape[0] * shape[1])
            x[:] = numbers(len(x))
            for p in layer.collect_params():
                p.value = numbers(p.size)
            for ways in ((layer, x), (layer.backward, x)):
                instructions, macs = meter.measure(*ways)
                row.append(f"{instructions / macs:.1f}")
        row += [f"{4 * words(*shape, recompute):,}" for recompute in (False, True)]
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
