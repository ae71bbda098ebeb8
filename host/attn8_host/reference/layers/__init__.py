"""Layers other than attention."""
