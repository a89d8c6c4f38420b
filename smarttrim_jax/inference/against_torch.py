"""The same BLIP as Hugging Face's transformers computes it with PyTorch, to be measured against."""

import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.inference.executor import Batch
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.functional import Functional, ModelConfig, Params
from smarttrim_jax.pretrained.blip_files import write_huggingface
from smarttrim_jax.pretrained.hub import BLIP_MODELS

TASKS = ("vqa", "retrieval")
"""Questions are encoded, or pairs judged."""

TOLERANCE = 1e-3
"""Between results in float32, relative to the largest."""

Forward = Callable[[Batch], np.ndarray]


def torch_forward(config: ModelConfig, params: Params) -> Forward:
    """The forward pass of transformers' model with the same weights, in float32 on the CPU.

    Args:
        config: a BLIP's, for one of `TASKS`.
        params: of the model.

    Raises:
        ConfigError: another model, or torch or transformers are not installed.
    """
    if not isinstance(config, BlipConfig) or config.task not in TASKS:
        raise ConfigError(f"--against=torch compares BLIP for {' and '.join(TASKS)}: transformers has no such model")
    try:
        import torch
        import transformers
    except ImportError:
        raise ConfigError('--against=torch needs torch and transformers: pip install -e ".[parity]"') from None
    with tempfile.TemporaryDirectory() as folder:
        write_huggingface(str(pathlib.Path(folder) / "model.safetensors"), config, params)
        model: Any = getattr(transformers, BLIP_MODELS[config.task]).from_pretrained(folder).eval()

    @torch.inference_mode()
    def forward(batch: Batch) -> np.ndarray:
        images, ids, mask = (torch.from_numpy(np.array(part)) for part in batch)
        pixels = images.reshape(-1, *images.shape[-3:]).permute(0, 3, 1, 2).contiguous()
        if config.task == "retrieval":
            return model(ids, pixels, attention_mask=mask, use_itm_head=True).itm_score.numpy()
        image = model.vision_model(pixel_values=pixels).last_hidden_state
        encoded = model.text_encoder(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=image,
            encoder_attention_mask=torch.ones(image.shape[:2], dtype=torch.long),
        )
        return encoded.last_hidden_state.numpy()

    return forward


def check_equal(model: Functional, params: Params, forward: Forward, batch: Batch) -> None:
    """Makes sure that both compute the same before their speeds are compared; for texts without padding.

    Raises:
        ConfigError: they do not.
    """
    (ours,) = jax.jit(model.apply)(params, *batch).result.values()
    theirs = forward(batch)
    error = float(np.max(np.abs(np.asarray(ours) - theirs)) / np.max(np.abs(theirs)))
    if not error < TOLERANCE:
        raise ConfigError(f"transformers' outputs differ by {error:.1e} of the largest; speeds are not comparable")
