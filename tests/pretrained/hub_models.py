"""Models of Hugging Face's transformers with weights of which none is special."""

import contextlib
import pathlib
from typing import Any


@contextlib.contextmanager
def seeded(seed: int) -> Any:
    import torch

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        yield


def randomised(model: Any) -> Any:
    """Every weight drawn anew: no norm of ones, no bias of zeros."""
    import torch

    with seeded(5):
        for weight in model.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape) + (weight.ndim == 1))
    return model.eval()


def saved(model: Any, folder: pathlib.Path) -> pathlib.Path:
    model.save_pretrained(folder)
    return folder / "model.safetensors"
