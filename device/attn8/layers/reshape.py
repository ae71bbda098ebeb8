def build(entry, given, need_weights):
    # Only a check: tensors are flat
    entry.accept(given, given[0], entry.sizes("shape"))
    return None, given
