"""Training: steps, the loop, the optimizer, checkpoints, a run's folder, and the run from start to report."""
