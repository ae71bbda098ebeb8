# What cannot fit is refused before any of it is made.
import gc

REMEDY = "take a smaller model, fewer tokens or another core (see attn8 plan)"


def require(what, size):
    # size: the bytes of the arrays that are about to be made
    if size > gc.mem_free():
        gc.collect()
        free = gc.mem_free()
        if size > free:
            raise MemoryError(
                "%s needs %d bytes of memory and %d are free; %s" % (what, size, free, REMEDY)
            )
