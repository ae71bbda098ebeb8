# Training on the board: layers with backward passes, losses and optimisers in fixed point.


def load(path, need_weights=False, count=None, advance=None):
    # Loads a training file (see attn8_host.train.session): -> what trains its model, a Trainer
    from ..model import configuration
    from .trainer import Trainer

    try:
        return Trainer(path, configuration(path, "attn8-train"))
    except KeyError as error:
        raise ValueError("%s: the config lacks %s" % (path, error))
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(path) else "%s: %s" % (path, text))
