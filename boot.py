# What a board runs at power-up: it sets attn8's clock speed, within a few milliseconds. It prints
# nothing, waits for nothing and cannot fail: the REPL always comes. Hold the BOOT button (GPIO0; on
# C3 and C6 GPIO9) and it does nothing. /lib, where attn8 lives, is on MicroPython's path already.


def boot():
    import sys

    try:
        import machine

        riscv = sys.implementation._mpy >> 10 == 11
        button = machine.Pin(9 if riscv else 0, machine.Pin.IN, machine.Pin.PULL_UP)
        if button.value():
            machine.freq(160000000 if riscv else 240000000)
    except Exception:  # a chip without that pin or that speed runs as it is
        pass


boot()
del boot
