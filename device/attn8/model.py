# Loads a model (see loading.py, and run.py for what it is).
import sys


def load(path, need_weights=False, count=None, advance=None, step=False, share=None,
         weights=None):
    # Loads a model, or its first `count` layers; need_weights keeps all scores and attention
    # weights (see cores); advance() is called before each layer. step: makes the layers for one
    # token at a time, for model.step; what mixes tokens otherwise than by attention to those before
    # is refused. share: whether the layers share the arena that the file has places in, so that
    # after a call only the results that no layer takes are there to be read, and the input is to be
    # written before each call; None: unless need_weights asks for more to be kept, with an input of
    # its own, which stays. weights: "resident", or "stream": they stay in the
    # file, and are read as they are needed; None: resident where there is room, for steps where
    # they leave half of the free memory. What trains a model has a loader of its own,
    # attn8.train.load.
    model, tensors = _made(path, need_weights, count, advance, step, share, weights)
    tensors.settle(model, advance)  # buffers and weights take the place of what makes layers
    return model


def _made(*arguments):
    before = set(sys.modules)
    try:
        from .loading import load as make

        return make(*arguments + (before,))
    finally:
        from .unload import Unload

        Unload(before).all()
