# Makes the layers of a model's file, which then wait for their weights (see tensors.Tensors).
import gc

from . import checks

STREAMED = 1024  # bytes of weights that may stay in a file


def load(path, need_weights, count, advance, step, share, weights, before):
    # See model.load -> the model, and the tensors of its file. before: as build has it
    def make():
        held = _room() if step else None  # of text, whose config is large
        try:
            config, tensors = _opened(path, weights, step)
        except MemoryError:
            if held is None:
                raise
            held = None  # it was in the way
            gc.collect()
            config, tensors = _opened(path, weights, step)
        if step:
            for name in "choice", "entry", "find":
                __import__("attn8." + name)
            del held
            gc.collect()
        try:
            model = _load(config, tensors, need_weights, count, advance, step, share, before)
            return model, tensors
        except Exception:
            tensors.close()
            raise

    return loaded(path, make)


# What is imported in these two is forgotten before there is much else


def _room():
    from .pool import room

    return room()


def _load(*arguments):
    from .build import build

    return build(*arguments)


def _opened(path, weights, step):
    from .configuration import checked, streams
    from .tensors import Tensors

    tensors = Tensors(path, None)
    try:
        config = checked(tensors.metadata, "attn8")
        tensors.keep(STREAMED if streams(path, weights, step, config.get("arena")) else 0)
    except Exception:
        tensors.close()
        raise
    return config, tensors


def loaded(path, make, amount=4096):
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
