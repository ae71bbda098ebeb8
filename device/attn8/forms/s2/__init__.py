# Machine code for ESP32-S2, which has neither MAC16 nor zero-overhead loops. Functions without a
# body are those of host/attn8_host/forms/kernels/FAMILY_s2.py.
import micropython

BACKEND = "turbo"
RANK = 1
CHIPS = (0xC2ECFAFE,)


@micropython.viper
def configid0() -> int:
    # As in xtensa
    pass
