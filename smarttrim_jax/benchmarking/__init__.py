"""What trimming saves: forced gates, trained models, training steps, PyTorch beside it, one accelerator."""
