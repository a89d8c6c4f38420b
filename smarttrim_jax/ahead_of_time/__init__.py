"""Programs compiled for TPU slices that are not there, and what they would take."""
