"""Layers: attention, encoders of images and texts, stacks of equal layers."""
