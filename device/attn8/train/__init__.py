# Training on the board: layers with backward passes, losses and optimizers in fixed point.


def load(path):
    # Loads a training file (see attn8_host.train.session): -> what trains its model, a Trainer
    from ..configuration import configuration
    from ..loading import loaded
    from .trainer import Trainer

    return loaded(path, lambda: Trainer(path, configuration(path, "attn8-train")))
