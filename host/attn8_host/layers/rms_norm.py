"""Normalization by the root mean square alone."""

from . import layer_norm


class Type(layer_norm.Type):
    """[rows, features] -> [rows, features]; as many rows as there are."""

    centred = False


TYPE = Type()
