# Linear attention over one head in machine code.
import micropython


def room(rows, features, head_dim):
    # The row of values is one of features at first
    return 2 * head_dim, 2 * rows * features


@micropython.viper
def fill(x: ptr32, value: int, n: int):
    pass


@micropython.viper
def accumulate(kv: ptr32, f: int, row: ptr8, k: ptr8, v: ptr8, table: ptr16, z: ptr32, first: int,
               tokens: int, head_dim: int):
    pass


@micropython.viper
def shrink(kv: ptr32, x: int, z: ptr32, out: ptr32, features: int, head_dim: int,
           limit: int) -> int:
    pass


@micropython.viper
def features(x: ptr8, table: ptr16, out: ptr16, first: int, rows: int, head_dim: int):
    pass


@micropython.viper
def attend(kv: ptr32, acc: int, phi: ptr16, z: ptr32, sums: ptr32, out: ptr8, first: int,
           rows: int, features: int, head_dim: int, p: int, denominator: int, num: int,
           shift: int):
    pass
