# What the board runs at power-up. It prints nothing, waits for nothing and cannot fail: the REPL
# always comes. /lib, where attn8 lives, is on MicroPython's path already.
import gc

gc.collect()
