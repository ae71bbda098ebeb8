"""Layers with backward passes."""
