"""Several runs of one configuration with other settings each: planned, run at the same time, and gathered."""
