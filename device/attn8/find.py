# Layers and cores are found by their names: the module of that name in a folder of the package.


def module(folder, name):
    # The module attn8.FOLDER.NAME; None where there is none. A module that is there and cannot be
    # imported raises what its import raised.
    if not isinstance(name, str) or not 0 < len(name) < 64 or name[0] == "_":
        return None
    for character in name:
        if not (character.isalpha() or character.isdigit() or character == "_"):
            return None
    path = "attn8.%s.%s" % (folder, name)
    try:
        return __import__(path, None, None, [name])
    except ImportError as error:
        said = str(error)
        if path in said or "'" not in said:  # firmware with terse errors names no module
            return None
        raise


def cls(found, name):
    # The class of a module that has its name: LocalGlobal in local_global
    wanted = name.replace("_", "")
    for key in dir(found):
        if key.lower() == wanted and isinstance(getattr(found, key), type):
            return getattr(found, key)
    return None
