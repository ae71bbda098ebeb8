from .exact import Exact


class Exact16(Exact):
    # In 32 bits the softmax is that of Exact; its int8 form takes int16, and so do its products

    options = ["block_rows"]
    maker = "exact16_constants"
    value_widths = crosses = False
    wide = True
