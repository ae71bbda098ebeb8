# Training on the board: layers with backward passes, losses and optimizers in fixed point.


def load(path, given=None):
    # Loads a training file (see attn8_host.train.session): -> what trains its model for a host, a
    # Served. given: of a board that learns alone, the input and the first layer where they are not
    # those of the config, see features.py; -> a Trainer then, which lacks its parameters still.
    from ..unload import Unload

    unloads = [Unload()]  # before all that it is to forget
    del Unload
    try:
        from .loading import load as made

        return made(path, given, unloads)
    finally:
        for unload in unloads:  # of a file that is refused all goes: classes may lack methods
            unload.forget("train")
            unload.all()


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
