from .exact import Exact


class Flash(Exact):
    # In 32 bits the one pass over tiles is the softmax of all scores

    options = ["block_size"]
    maker = "flash_constants"
    value_widths = crosses = False
