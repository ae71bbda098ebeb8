# What loading a file fails with says which file that was.
import gc

from . import checks


def loaded(path, make, amount):
    # -> what make() makes of the file, whose path begins each error. amount: bytes after which what
    # is no more needed is let go: what stays for good then lies close together
    checks.kind("path", path, str)
    threshold = gc.threshold()
    gc.threshold(amount)
    try:
        return make()
    except MemoryError as error:
        text = str(error)
        if not text.startswith("memory allocation"):
            raise
        raise MemoryError("%s needs more than is free (%s); take a smaller model, fewer tokens or "
                          "another core (see attn8 plan)" % (path, text))
    except KeyError as error:
        raise ValueError("%s: the config lacks %s" % (path, error))
    except (TypeError, ValueError) as error:
        text = str(error)
        raise ValueError(text if text.startswith(path) else "%s: %s" % (path, text))
    finally:
        gc.threshold(threshold)
