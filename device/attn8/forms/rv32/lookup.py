# Functions of one int8 value in machine code.
import micropython


@micropython.viper
def lookup(x: ptr8, table: ptr8, out: ptr8, n: int):
    pass
