# A layer type that trains is the module of its name, with the layer's class and
#   build(f, entry, given) -> (layer, gives)
# for a format f, where `given` and `gives` count the values that the layer before gives and that
# this one does. A layer has
#   layer(x) -> out, layer.backward(grad) -> the gradient of x, layer.collect_params()
#   layer.measured()   [(name, words)]: whose ranges the int8 form needs
#   layer.requantize(r, fields, scale) -> the scale of its int8 results: writes what it trained into
#                      the fields of the int8 layer and into r (see requantize.py); `scale` is that
#                      of its inputs
