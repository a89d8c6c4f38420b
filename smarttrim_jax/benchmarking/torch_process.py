"""The process that computes transformers' BLIP with PyTorch, with the settings that make it fastest.

PyTorch gets what its users can set without another model: memory that is kept, images with channels last, no record
for gradients. What helps on some machines only is tried for every new batch, and stays where it does: as many threads
as there are cores, PyTorch's fused attention in place of transformers' own, and compilation.
"""

import contextlib
import functools
import os
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from smarttrim_jax.errors import reason
from smarttrim_jax.memory import keep_freed_memory

TRIED = 3
"""Timed calls of each setting, after a first one that may compile."""

Forward = Callable[..., Any]
"""Computes a model's result from its inputs."""
Setting = Callable[[Forward], contextlib.AbstractContextManager[Forward]]
"""Makes a forward pass with a setting from one without it; the setting ends with the context."""


def serve(
    connection: Connection, folder: str, name: str, task: str, device: str, dtype: str, *, compiles: bool
) -> None:
    """Main function of the process: computes every new batch, or the last one again, until the other process ends.

    Sends None once the weights have been read. For a new batch it sends the result and the names of the settings that
    stayed, for a repetition None.

    Args:
        connection: To the other process, which sends images, ids and mask of a new batch, or None to repeat.
        folder: Folder of the model's files.
        name: Name of the model's class in transformers.
        task: One of `against_torch.TASKS`.
        device: "cuda" or "cpu".
        dtype: Name of the dtype of weights and images.
        compiles: Whether to try compilation, which takes a minute or two.
    """
    import torch
    import transformers

    keep_freed_memory()
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, by which JAX multiplies float32 on a GPU too
    numbers = getattr(torch, dtype)
    model: Any = getattr(transformers, name).from_pretrained(folder).eval()
    model = model.to(device, numbers, memory_format=torch.channels_last)
    settings = _settings(torch, model, device, compiles=compiles)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    connection.send(None)
    inputs: Any = None
    forward: Forward = _forward(model, task)
    stayed: list[str] = []
    # EOFError: the other process has ended.
    with torch.inference_mode(), contextlib.suppress(EOFError), contextlib.ExitStack() as kept:
        while True:
            batch = connection.recv()
            if batch is not None:
                images, ids, mask = (torch.from_numpy(np.array(part)).to(device) for part in batch)
                # [rows, height, width, channels] seen as channels first, so that memory keeps channels last.
                pixels = images.reshape(-1, *images.shape[-3:]).permute(0, 3, 1, 2).to(numbers)
                inputs = pixels, ids, mask
                kept.close()  # Settings that stayed for the batch before.
                torch.compiler.reset()
                seconds = functools.partial(_seconds, inputs=inputs, wait=wait)
                forward, stayed = fastest(_forward(model, task), settings, seconds, kept)
            result = forward(*inputs)
            wait()
            connection.send(None if batch is None else (result.float().cpu().numpy(), stayed))


def fastest(
    forward: Forward,
    settings: Mapping[str, Setting],
    seconds: Callable[[Forward], float],
    kept: contextlib.ExitStack,
) -> tuple[Forward, list[str]]:
    """Tries settings one after the other; each stays where it makes the forward pass faster, with those before it.

    Args:
        forward: Forward pass without any of them.
        settings: Settings by name. One that fails on this machine is left out, with a message on standard error.
        seconds: Measures the seconds of a forward pass.
        kept: Takes the contexts of the settings that stay.

    Returns:
        The forward pass with the settings that stayed, and their names.
    """
    best, stayed = seconds(forward), []
    for name, setting in settings.items():
        with contextlib.ExitStack() as tried:
            changed = tried.enter_context(setting(forward))
            try:
                took = seconds(changed)
            except Exception as error:  # Say, there is no compiler: PyTorch raises anything then.
                print(f"PyTorch runs without '{name}', which fails here: {reason(error)}", file=sys.stderr)
                continue
            if took < best:
                forward, best = changed, took
                stayed.append(name)
                kept.enter_context(tried.pop_all())
    return forward, stayed


def _settings(torch: Any, model: Any, device: str, *, compiles: bool) -> dict[str, Setting]:
    """The settings that are tried, in this order, by name."""
    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))

    @contextlib.contextmanager
    def every_core(forward: Forward) -> Iterator[Forward]:
        torch.set_num_threads(cores)
        yield forward
        torch.set_num_threads(threads)

    @contextlib.contextmanager
    def fused_attention(forward: Forward) -> Iterator[Forward]:
        layers = [layer.self_attn for layer in model.vision_model.encoder.layers]
        for attention in layers:
            attention.forward = types.MethodType(attend, attention)
        yield forward
        for attention in layers:
            del attention.forward

    def attend(self: Any, hidden_states: Any, **_: Any) -> tuple[Any, None]:
        """Attention of an image layer; transformers writes [rows, heads, tokens, tokens] weights to memory."""
        rows, tokens, width = hidden_states.shape
        by_head = self.qkv(hidden_states).view(rows, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = by_head.unbind(0)  # each [rows, heads, tokens, width of a head]
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return self.projection(mixed.transpose(1, 2).reshape(rows, tokens, width)), None

    @contextlib.contextmanager
    def compiled(forward: Forward) -> Iterator[Forward]:
        # On a GPU, calls are recorded as graphs; on a CPU, weights are laid out for its matrix products.
        how: dict[str, Any] = {"mode": "reduce-overhead"} if device == "cuda" else {"options": {"freezing": True}}
        yield torch.compile(forward, dynamic=False, **how)

    settings: dict[str, Setting] = {}
    if device == "cpu" and cores != threads:
        settings[f"{cores} threads"] = every_core
    settings["fused attention"] = fused_attention
    if compiles:
        settings["compiled"] = compiled
    return settings


def _seconds(forward: Forward, inputs: tuple[Any, ...], wait: Callable[[], None]) -> float:
    """Seconds of the fastest of `TRIED` calls, after a first one."""
    taken = []
    for _ in range(TRIED + 1):
        start = time.perf_counter()
        forward(*inputs)
        wait()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def _forward(model: Any, task: str) -> Forward:
    """The forward pass of a task, from pixels, ids and mask."""

    def judged(pixels: Any, ids: Any, mask: Any) -> Any:
        return model(ids, pixels, attention_mask=mask, use_itm_head=True).itm_score

    def encoded(pixels: Any, ids: Any, mask: Any) -> Any:
        image = model.vision_model(pixel_values=pixels).last_hidden_state
        states = model.text_encoder(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=image,
            encoder_attention_mask=image.new_ones(image.shape[:2]).long(),
        )
        return states.last_hidden_state

    return judged if task == "retrieval" else encoded
