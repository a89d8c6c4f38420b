"""Programs compiled for TPU slices that this machine does not have, and what they would need."""
