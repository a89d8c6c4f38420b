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
from smarttrim_jax.execution.executor import Batch
from smarttrim_jax.models.functional import Functional, ModelConfig, Params
from smarttrim_jax.pretrained.backbones import files_of, write_huggingface

TASKS = ("vqa", "retrieval")
"""Questions are encoded, or pairs judged."""

TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2}
"""Between results in these numbers, relative to the largest."""


class TorchForward:
    """The forward pass of transformers' model with the same weights, in the config's numbers.

    It runs on the GPU if JAX does, else on the CPU. A call returns when the result is computed; the result itself
    travels only when the batch is another one, so that repeated calls time the forward pass alone.

    Args:
        config: a BLIP's, for one of `TASKS`.
        params: of the model.

    Raises:
        ConfigError: another model, or torch or transformers are not installed.
    """

    def __init__(self, config: ModelConfig, params: Params):
        models = files_of(config).huggingface_models
        task = next((task for task in TASKS if task in config.tasks and task in models), None)
        if task is None:
            raise ConfigError(
                f"--against=torch compares BLIP for {' and '.join(TASKS)}: transformers has no such model"
            )
        if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
            raise ConfigError('--against=torch needs torch and transformers: pip install -e ".[parity]"')
        self._sent: Batch | None = None
        self._result: np.ndarray | None = None
        with tempfile.TemporaryDirectory() as folder:
            write_huggingface(str(pathlib.Path(folder) / "model.safetensors"), config, params)
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            device = "cuda" if jax.default_backend() == "gpu" else "cpu"
            arguments = (theirs, folder, models[task], task, device, config.dtype)
            context.Process(target=_serve, args=arguments, daemon=True).start()
            theirs.close()  # a process that fails then ends our waiting
            try:
                self._connection.recv()  # the weights are read
            except EOFError:
                raise ConfigError(f"transformers' model did not start on '{device}'; see its own message") from None

    def __call__(self, batch: Batch) -> np.ndarray:
        """The states of questions, or the logits of pairs; computed anew in every call."""
        is_new = batch is not self._sent
        self._connection.send(tuple(map(np.asarray, batch)) if is_new else None)
        answer = self._connection.recv()
        if is_new:
            self._sent, self._result = batch, answer
        assert self._result is not None
        return self._result


def check_equal(model: Functional, params: Params, forward: TorchForward, batch: Batch) -> None:
    """Makes sure that both compute the same before their speeds are compared; for texts without padding.

    Raises:
        ConfigError: they do not.
    """
    (ours,) = jax.jit(model.apply)(params, *batch).result.values()
    theirs = forward(batch)
    error = float(np.max(np.abs(np.asarray(ours) - theirs)) / np.max(np.abs(theirs)))
    if not error < TOLERANCES[model.config.dtype]:
        raise ConfigError(f"transformers' outputs differ by {error:.1e} of the largest; speeds are not comparable")


def _serve(connection: Connection, folder: str, name: str, task: str, device: str, dtype: str) -> None:
    """The process: computes every batch, or the last one again; the results of new batches are sent."""
    import torch
    import transformers

    numbers = getattr(torch, dtype)
    model: Any = getattr(transformers, name).from_pretrained(folder).eval().to(device, numbers)
    connection.send(None)
    inputs: Any = None
    with torch.inference_mode(), contextlib.suppress(EOFError):  # the other end has gone
        while True:
            batch = connection.recv()
            if batch is not None:
                images, ids, mask = (torch.from_numpy(np.array(part)).to(device) for part in batch)
                pixels = images.reshape(-1, *images.shape[-3:]).permute(0, 3, 1, 2).contiguous().to(numbers)
                inputs = pixels, ids, mask
            result = _forward(model, task, *inputs)
            if device == "cuda":
                torch.cuda.synchronize()
            connection.send(None if batch is None else result.float().cpu().numpy())


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
