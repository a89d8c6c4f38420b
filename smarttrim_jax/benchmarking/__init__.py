"""Measurements of what trimming saves: forced gates, trained models, training steps, PyTorch, and one accelerator."""
