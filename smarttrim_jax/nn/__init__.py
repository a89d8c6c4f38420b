"""Layers: attention, image and text encoders, and stacks of equal layers."""
