# Machine code for ESP32 and ESP32-S3, with MAC16 and zero-overhead loops. A viper function without
# a body, here and in the modules beside, says what arguments it takes; `attn8 deploy` puts in its
# place what host/attn8_host/forms/kernels/FAMILY_xtensa.py assembles.
import micropython

BACKEND = "turbo"
RANK = 1
# ESP32-S2 has the same architecture name, and neither MAC16 nor loops
CHIPS = 0xC2F0FFFE, 0xC2BCFFFE


@micropython.viper
def configid0() -> int:
    # The processor's configuration number; reading it is safe on every chip
    pass
