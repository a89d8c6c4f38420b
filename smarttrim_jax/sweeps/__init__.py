"""Sweeps: several runs of one configuration with different settings, planned, run in parallel, and tabulated."""
