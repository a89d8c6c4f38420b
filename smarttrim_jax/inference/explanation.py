"""What a model kept of each example, layer by layer, as plain data for pictures and pages."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, UInt8

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.inference.executor import PackedExecutor
from smarttrim_jax.models.output import Output
from smarttrim_jax.training.finished import FinishedRun
from smarttrim_jax.training.forward import inputs


@dataclasses.dataclass(frozen=True)
class Explanation:
    """One example.

    Attributes:
        index: of the example in its split.
        images: `[images, size, size, 3]` as the model saw them.
        words: tokens of the text without padding.
        answer: of the model.
        label: what was asked for.
        confidence: of the answer.
        macs: share of the full model's MACs that was spent.
        layers: names of the layers on the image's way, as "image 0", "fusion 1".
        patches: which patches each of these layers reads, `[layers, images, rows, columns]`.
        text_layers: names of the layers on the text's way.
        dropped: for every word the index of the text layer that closed it; the number of text layers if none did.
        heads: share of heads open by layer, with the modules' names: "image 0", "fusion image 1 cross".
    """

    index: int
    images: UInt8[np.ndarray, "images size size 3"]
    words: list[str]
    answer: str
    label: str
    confidence: float
    macs: float
    layers: list[str]
    patches: Bool[np.ndarray, "layers images rows columns"]
    text_layers: list[str]
    dropped: list[int]
    heads: dict[str, float]

    @property
    def correct(self) -> bool:
        """Whether the answer is the label."""
        return self.answer == self.label


def explain(
    run: FinishedRun,
    split: str,
    *,
    limit: int | None = None,
    speedup: float | None = None,
    batch_size: int = 32,
) -> Iterator[Explanation]:
    """Runs the model over a split and yields what it kept.

    Args:
        run: a finished one that trims.
        split: of its data.
        limit: only the first examples.
        speedup: in MACs; the one it was trained for by default.
        batch_size: examples at a time.

    Raises:
        ConfigError: a run that never trimmed, or a speed-up beyond its dial.
        DataError: no such split.
    """
    trim = run.trim(speedup)
    if trim is None:
        raise ConfigError("this run never trimmed; there is nothing to explain")
    executor = PackedExecutor(run.model, run.params, run.config.execution)
    for batch in run.batches(split, batch_size=batch_size, limit=limit):
        output = executor(*inputs(run.config, batch), trim=trim)
        yield from _examples(run, batch, output)


def _examples(run: FinishedRun, batch: dict[str, Any], output: Output) -> Iterator[Explanation]:
    config, names = run.config.model, run.dataset.answer_names
    record = jax.tree.map(np.asarray, output.record)
    gates, size = record.gates, len(batch["label"])
    probabilities = np.asarray(jax.nn.softmax(output.logits[run.config.task], axis=-1))
    full = run.model.macs(output.record.opened(), trimmed=False)
    macs = np.asarray(run.model.macs(output.record) / full)
    grid = run.config.data.image_size // config.vision.patch_size
    seen = np.concatenate([gates["image"].tokens, gates["fusion_image"].tokens])[..., 1:] > 0
    patches = seen.reshape(len(seen), size, config.images, grid, grid).swapaxes(0, 1)
    layers = [f"image {i}" for i in range(len(gates["image"].tokens))]
    fused = [f"fusion {i}" for i in range(len(gates["fusion_image"].tokens))]
    text_layers = [f"text {i}" for i in range(len(gates["text"].tokens))] + fused
    read = _text_read(gates, size)
    for row in range(size):
        if batch["weight"][row] == 0:
            continue
        length = int(batch["text_mask"][row].sum())
        best = int(probabilities[row].argmax())
        yield Explanation(
            index=int(batch["index"][row]),
            images=batch["image"][row],
            words=run.dataset.text.tokens(batch["text_ids"][row][:length]),
            answer=names[best],
            label=names[int(batch["label"][row])],
            confidence=float(probabilities[row, best]),
            macs=float(macs[row]),
            layers=layers + fused,
            patches=patches[row],
            text_layers=text_layers,
            dropped=[int(read[:, row, word].sum()) for word in range(length)],
            heads=_heads(gates, row, size),
        )


def _text_read(gates: Any, size: int) -> np.ndarray:
    """Whether each layer reads each word, `[layers, batch, tokens]`; of an example with many images, for any."""
    parts = []
    for name in ("text", "fusion_text"):
        tokens = gates[name].tokens > 0
        parts.append(tokens.reshape(len(tokens), size, -1, tokens.shape[-1]).any(axis=2))
    return np.concatenate(parts)


def _heads(gates: Any, row: int, size: int) -> dict[str, float]:
    """Share of open heads of every attention module that the example ran through."""
    shares: dict[str, float] = {}
    for name, gate in sorted(gates.items()):
        for part, opened in gate.modules.items():
            suffix = part.removesuffix("heads").rstrip("_")
            mine = opened.reshape(len(opened), size, -1).mean(axis=-1)[:, row]
            shares |= {f"{name.replace('_', ' ')} {i} {suffix}".rstrip(): float(x) for i, x in enumerate(mine)}
    return shares
