"""METER: official checkpoints to our parameters and back."""
