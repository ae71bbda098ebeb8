# A layer type that trains is the module of its name, with the layer's class and
#   build(f, entry, given) -> (layer, gives)
# for a format f, where `given` and `gives` count the values that the layer before gives and that
# this one does. A module says INPUTS, if it takes more than one result: build and the layer are
# then given as many; TOKENWISE, if it gives each token its own results; HEEDS, which of its inputs
# it is whose tokens a length counts, if that is not the first. A layer has
#   layer(x) -> out    keeps what backward needs of x and out, which stay as they are until then
#   layer.backward(grad) -> the gradient of x, which is the layer's own memory until its next call,
#                      or grad itself in a layer with PASSES; of several inputs a list of them.
#                      `entry.asked` is False where nobody asks for it: it may then be anything
#   layer.again(x)     of one that asks for a "kept" room: makes what it keeps again, and no result;
#                      of one with SOURCE, which nobody asks for a gradient: its result, at once
#   layer.collect_params()
#   layer.heed(length) -> the length of its results: called before a sample, if there is such a
#                      method and inputs have lengths
#   layer.measured()   [(name, words)]: whose ranges the int8 form needs, if that is not its result
#   layer.requantize(r, fields, scale) -> the scale of its int8 results: writes what it trained into
#                      the fields of the int8 layer and into r (see requantize.py); `scale` is that
#                      of its inputs
# What no step calls is forgotten once a model is made, see UNCALLED; requantize.py gives it back.
# Where a type may have no part in the training of a model that has it, as the loss stands for it, a
# function follow(fields, scale) of its module writes its int8 form.
UNCALLED = ("__init__", "collect_params", "requantize", "real", "learned", "parameter", "gradient",
            "phase", "room", "product", "pointwise", "norm", "softmax_scale", "root_ratio",
            "adam_constants", "get", "loss_of", "optimizer_of")
# They are public: two private ones may be called the same
