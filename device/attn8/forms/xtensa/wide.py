# What stands for int16 where other kernels take int8, in machine code.
import micropython


@micropython.viper
def relu(x: ptr16, out: ptr16, n: int):
    pass


@micropython.viper
def interpolate(x: ptr16, acc: int, table: ptr16, out: ptr16, n: int):
    pass


@micropython.viper
def multiply(a: ptr16, acc: int, b: ptr16, out: ptr8, n: int, mult: int, shift: int, most: int):
    pass
