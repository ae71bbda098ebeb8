# A layer type is the module of its name, with the layer's class and
#   build(entry, given, need_weights) -> (layer, gives)
# which makes the layer that an Entry describes, out of its fields and tensors; None for a layer
# that does nothing. `given` and `gives` are (format, values): what the layer before gives, and what
# this one does. A format is "int8", "int32" or one of formats.py. A layer of several inputs says
# how many with INPUTS; then `given` is a list of them.
