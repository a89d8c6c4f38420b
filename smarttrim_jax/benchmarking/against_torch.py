"""The same BLIP as computed by Hugging Face's transformers with PyTorch, as a baseline.

It runs in a process of its own (`torch_process`), beside which JAX waits, with the settings that make it fastest.
"""

import functools
import importlib.util
import multiprocessing
import pathlib
import tempfile

import jax
import numpy as np

from smarttrim_jax.benchmarking.torch_process import serve
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.execution.base import Batch
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.pretrained.backbones import files_of, write_huggingface

TASKS = ("vqa", "retrieval")
"""Tasks that are compared: questions are encoded ("vqa"), or pairs judged ("retrieval")."""

TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2}
"""Largest accepted difference between results by dtype, relative to the largest value."""


class TorchForward:
    """The forward pass of transformers' model with the same weights, in the configuration's dtype.

    It runs on the GPU if JAX does, else on the CPU. A call returns when the result is computed. The result itself is
    transferred only for a new batch, so that repeated calls time the forward pass alone.

    Args:
        config: Configuration of a BLIP for one of `TASKS`.
        params: The model's parameters.
        compiles: Whether PyTorch may try to compile the model, which takes a minute or two for each batch.

    Attributes:
        settings: Names of the settings that made PyTorch faster for the last new batch; see `torch_process`.

    Raises:
        ConfigError: transformers has no such model, or torch or transformers are not installed.
    """

    def __init__(self, config: ModelConfig, params: Params, *, compiles: bool = True):
        models = files_of(config).huggingface_models
        task = next((task for task in TASKS if task in config.tasks and task in models), None)
        if task is None:
            raise ConfigError(
                f"--against=torch compares BLIP for {' and '.join(TASKS)}: transformers has no such model"
            )
        if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
            raise ConfigError('--against=torch needs torch and transformers: pip install -e ".[parity]"')
        self.settings: list[str] = []
        self._sent: Batch | None = None
        self._result: np.ndarray | None = None
        with tempfile.TemporaryDirectory() as folder:
            write_huggingface(str(pathlib.Path(folder) / "model.safetensors"), config, params)
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            device = "cuda" if jax.default_backend() == "gpu" else "cpu"
            arguments = (theirs, folder, models[task], task, device, config.dtype)
            target = functools.partial(serve, compiles=compiles)
            context.Process(target=target, args=arguments, daemon=True).start()
            theirs.close()  # Otherwise recv would wait forever for a process that has failed.
            try:
                self._connection.recv()  # Sent as soon as the weights have been read.
            except EOFError:
                raise ConfigError(f"transformers' model did not start on '{device}'; see its own message") from None

    def __call__(self, batch: Batch) -> np.ndarray:
        """Computes a batch; the computation is repeated in every call.

        Args:
            batch: Images, token ids and mask; see `PackedExecutor`.

        Returns:
            Last hidden states of questions `[batch, tokens, width]`, or logits of pairs `[batch, 2]`, float32.
        """
        is_new = batch is not self._sent
        self._connection.send(tuple(map(np.asarray, batch)) if is_new else None)
        answer = self._connection.recv()
        if is_new:
            self._sent = batch
            self._result, self.settings = answer
        assert self._result is not None
        return self._result


def check_equal(model: Functional, params: Params, forward: TorchForward, batch: Batch) -> None:
    """Checks that both models compute the same before their speeds are compared.

    Args:
        model: Our model.
        params: The model's parameters.
        forward: The same model in PyTorch.
        batch: Batch whose texts have no padding.

    Raises:
        ConfigError: The outputs differ by more than the tolerance of the dtype.
    """
    (ours,) = jax.jit(model.apply)(params, *batch).result.values()
    theirs = forward(batch)
    error = float(np.max(np.abs(np.asarray(ours) - theirs)) / np.max(np.abs(theirs)))
    if not error < TOLERANCES[model.config.dtype]:
        raise ConfigError(f"transformers' outputs differ by {error:.1e} of the largest; speeds are not comparable")
