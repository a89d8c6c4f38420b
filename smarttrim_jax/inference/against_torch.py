"""The same BLIP as Hugging Face's transformers computes it with PyTorch, to be measured against.

It runs in a process of its own, as its users run it: with its own memory settings, and not ours.
"""

import contextlib
import importlib.util
import multiprocessing
import pathlib
import tempfile
from multiprocessing.connection import Connection
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


class TorchForward:
    """The forward pass of transformers' model with the same weights, in float32 on the CPU.

    Args:
        config: a BLIP's, for one of `TASKS`.
        params: of the model.

    Raises:
        ConfigError: another model, or torch or transformers are not installed.
    """

    def __init__(self, config: ModelConfig, params: Params):
        if not isinstance(config, BlipConfig) or config.task not in TASKS:
            raise ConfigError(
                f"--against=torch compares BLIP for {' and '.join(TASKS)}: transformers has no such model"
            )
        if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
            raise ConfigError('--against=torch needs torch and transformers: pip install -e ".[parity]"')
        self._sent: Batch | None = None
        with tempfile.TemporaryDirectory() as folder:
            write_huggingface(str(pathlib.Path(folder) / "model.safetensors"), config, params)
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            context.Process(
                target=_serve, args=(theirs, folder, BLIP_MODELS[config.task], config.task), daemon=True
            ).start()
            self._connection.recv()  # the weights are read

    def __call__(self, batch: Batch) -> np.ndarray:
        """The states of questions, or the logits of pairs; a batch travels only when it is another one."""
        self._connection.send(None if batch is self._sent else tuple(map(np.asarray, batch)))
        self._sent = batch
        return self._connection.recv()


def check_equal(model: Functional, params: Params, forward: TorchForward, batch: Batch) -> None:
    """Makes sure that both compute the same before their speeds are compared; for texts without padding.

    Raises:
        ConfigError: they do not.
    """
    (ours,) = jax.jit(model.apply)(params, *batch).result.values()
    theirs = forward(batch)
    error = float(np.max(np.abs(np.asarray(ours) - theirs)) / np.max(np.abs(theirs)))
    if not error < TOLERANCE:
        raise ConfigError(f"transformers' outputs differ by {error:.1e} of the largest; speeds are not comparable")


def _serve(connection: Connection, folder: str, name: str, task: str) -> None:
    """The process: answers every batch, or the last one again."""
    import torch
    import transformers

    model: Any = getattr(transformers, name).from_pretrained(folder).eval()
    connection.send(None)
    inputs: Any = None
    with torch.inference_mode(), contextlib.suppress(EOFError):  # the other end has gone
        while True:
            batch = connection.recv()
            if batch is not None:
                images, ids, mask = (torch.from_numpy(np.array(part)) for part in batch)
                inputs = images.reshape(-1, *images.shape[-3:]).permute(0, 3, 1, 2).contiguous(), ids, mask
            connection.send(_forward(model, task, *inputs).numpy())


def _forward(model: Any, task: str, pixels: Any, ids: Any, mask: Any) -> Any:
    if task == "retrieval":
        return model(ids, pixels, attention_mask=mask, use_itm_head=True).itm_score
    image = model.vision_model(pixel_values=pixels).last_hidden_state
    encoded = model.text_encoder(
        input_ids=ids,
        attention_mask=mask,
        encoder_hidden_states=image,
        encoder_attention_mask=image.new_ones(image.shape[:2]).long(),
    )
    return encoded.last_hidden_state
