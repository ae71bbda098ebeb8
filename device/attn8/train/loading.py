# Makes what trains of a training file.
from .. import memory
from ..loading import loaded


def load(path, given, unloads):
    # See attn8.train.load. unloads: the Unload that forgets what loads, until it has
    amount = 1024 if given else 4096  # where memory is to be saved
    return loaded(path, lambda: _made(path, unloads, given), amount)


def _made(path, unloads, given):
    unloads[0].strip("loading")  # but for `loaded`, which runs
    from .reading import read

    config, places, said = read(path)
    del read
    unloads[0].forget("configuration", "grammar", "safetensors", "tensors")
    memory.forget("attn8.train.reading")
    if given is None:
        from .served import Served

        return Served(path, config, places, said, unloads)
    from .trainer import Trainer

    if given:
        config["input"], config["layers"][0] = given
    config["schedule"] = {"warmup_steps": 0, "total_steps": 1}  # until it is known how many are
    return Trainer(path, config, places, said, unloads, len(given) > 0)
