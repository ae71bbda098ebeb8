# Two axes exchanged in machine code.
import micropython


@micropython.viper
def swap_axes(x: ptr32, out: ptr32, n: int, m: int, size: int, rows: int):
    pass
