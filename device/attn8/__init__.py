# attn8: int8 attention for MicroPython. Formulas: the numerics section of the README.
# Names are imported when first used, so that `import attn8` costs next to nothing.

__version__ = "0.1.0"

_modules = {
    "Conv1D": "layers.conv1d",
    "Convert": "layers.convert",
    "Decode": "cores.decode",
    "Dense": "layers.dense",
    "Exact": "cores.exact",
    "Flash": "cores.flash",
    "Linear": "cores.linear",
    "LocalGlobal": "cores.local_global",
    "MeanPool": "layers.mean_pool",
    "Micro": "cores.micro",
    "Model": "model",
    "MultiHeadAttention": "layers.attention",
    "Performer": "cores.performer",
    "QConv1D": "layers.conv1d",
    "ReLU": "layers.relu",
    "SelfAttention1D": "layers.self_attention_1d",
    "Sliding": "cores.sliding",
    "Sparse": "cores.sparse",
    "backend": "kernels",
    "load": "model",
    "serve": "link.server",
}


def __getattr__(name):
    path = _modules.get(name, name)
    try:
        value = __import__("attn8." + path, None, None, [name])
    except ImportError:
        raise AttributeError(name)
    if name in _modules:
        value = getattr(value, name)
    globals()[name] = value
    return value
