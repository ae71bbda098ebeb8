def build(entry, tensors, shapes, outputs, width, need_weights):
    # Only a check: tensors are flat
    size = 1
    for n in entry["shape"]:
        size *= n
    return None, size, size
