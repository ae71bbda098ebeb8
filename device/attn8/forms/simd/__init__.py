# Machine code with the vector instructions of ESP32-S3, where it was asked for: experimental, as no
# chip has run it yet. What it lacks is taken from xtensa, which is deployed with it.
import micropython

BACKEND = "simd"
RANK = 2
CHIPS = (0xC2F0FFFE,)


@micropython.viper
def configid0() -> int:
    # As in xtensa
    pass
