# Training on the board: layers with backward passes, losses and optimizers in fixed point.


def load(path):
    # Loads a training file (see attn8_host.train.session): -> what trains its model, a Trainer
    from ..unload import Unload

    unload = Unload()
    try:
        from ..loading import loaded

        return loaded(path, lambda: _made(path, unload))
    finally:
        unload.all()


def _made(path, unload):
    from ..configuration import configuration
    from .trainer import Trainer

    return Trainer(path, configuration(path, "attn8-train"), unload)
