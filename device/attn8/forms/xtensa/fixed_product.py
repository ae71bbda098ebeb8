# Products of training's fixed point in machine code. How mantissas lie in `room` is up to it.
import micropython


@micropython.viper
def product(a: ptr32, acc: int, b: ptr32, out: ptr32, a_offset: int, b_offset: int, offset: int,
            again: int, shape: ptr32, room: ptr32, count: ptr32):
    pass
