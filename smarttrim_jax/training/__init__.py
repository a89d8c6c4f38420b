"""Runs: tasks, steps, the loop, sharding, checkpoints, a run's folder, and its evaluation."""
