# Training on the board: layers with backward passes, losses and optimizers in fixed point.
from .. import memory


def load(path, given=None):
    # Loads a training file (see attn8_host.train.session): -> what trains its model for a host, a
    # Served. given: of a board that learns alone, the input and the first layer where they are not
    # those of the config, see features.py; -> a Trainer then, which lacks its parameters still.
    from ..unload import Unload

    unloads = [Unload()]  # until it has forgotten all that it can, and goes as well
    del Unload
    try:
        from ..loading import loaded

        return loaded(path, lambda: _made(path, unloads, given))
    finally:
        if unloads:
            unloads.pop().all()


def _made(path, unloads, given):
    from .reading import read

    config, places = read(path)
    del read
    unloads[0].forget("configuration", "grammar", "safetensors", "tensors")
    memory.forget("attn8.train.reading")
    if given is None:
        from .served import Served

        return Served(path, config, places, unloads)
    from .trainer import Trainer

    if given:
        config["input"], config["layers"][0] = given
    config["schedule"] = {"warmup_steps": 0, "total_steps": 1}  # until it is known how many are
    return Trainer(path, config, places, unloads, len(given) > 0)


def fit(path, samples, epochs=10, batch=None, validation=5, patience=3, seed=1, report=None):
    # Trains on the board alone, what `attn8 train MODEL --prepare` has put there, and makes int8
    # weights of what was learned. A power cut at any time leaves the old ones or the new ones.
    # path: of the training file. samples: len(samples) and samples[i] -> (int8 values, label); see
    # samples.Samples. batch: samples of a step, None: as the file says. validation: one sample of
    # so many does not train; an epoch counts only where these get better, and `patience` without
    # end it. 0: all train, through all epochs. seed: of their order. report(epoch, loss, accuracy,
    # validation loss, validation accuracy) is called after each. -> the epoch whose weights are
    # kept, 0 where the old ones are no worse than any, and what was reported of each. ValueError
    # where values saturate: the old ones stay.
    from .fitting import fit

    return fit(path, samples, epochs, batch, validation, patience, seed, report)
