# Training on the board: layers with backward passes, losses and optimizers in fixed point.


def load(path, given=None):
    # Loads a training file (see attn8_host.train.session): -> what trains its model, a Trainer.
    # given: of an input that has been through the first layer, as the config says such
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
    from ..configuration import configuration
    from .trainer import Trainer

    config = configuration(path, "attn8-train")
    del configuration
    if given:
        config["input"] = given
        name = config["layers"].pop(0)["name"]
        for entry in config["layers"]:
            if "inputs" in entry:
                entry["inputs"] = [x if x != name else "input" for x in entry["inputs"]]
    return Trainer(path, config, unloads, given is not None)


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
