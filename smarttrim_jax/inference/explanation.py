"""What a model kept of each example, layer by layer, as plain data for pictures and pages."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, UInt8

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.inference.answering import Answered, Answering
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
    answering = Answering(run, trim)
    for batch in run.batches(split, batch_size=batch_size, limit=limit):
        yield from _examples(run, batch, answering(*inputs(run.config, batch)))


def _examples(run: FinishedRun, batch: dict[str, Any], answered: Answered) -> Iterator[Explanation]:
    config, size = run.config.model, len(batch["label"])
    gates = jax.tree.map(np.asarray, answered.record).gates
    full = run.model.macs(answered.record.opened(), trimmed=False)
    macs = np.asarray(run.model.macs(answered.record) / full)
    grid = run.config.data.image_size // config.vision.patch_size
    layers, seen = _way(gates, "image", size)
    patches = seen[..., 1:].reshape(len(seen), size, config.images, grid, grid).swapaxes(0, 1)
    # Of a caption, the decoder's target is the text.
    has_text = any(name.endswith("text") for name in gates)
    text_layers, read_for_images = _way(gates, "text" if has_text else "target", size)
    read = read_for_images.max(axis=2)
    for row in range(size):
        if batch["weight"][row] == 0:
            continue
        length = int(batch["text_mask"][row].sum())
        yield Explanation(
            index=int(batch["index"][row]),
            images=batch["image"][row],
            words=run.dataset.text.tokens(batch["text_ids"][row][:length]),
            answer=answered.texts[row],
            label=run.task.right_answer({name: part[row] for name, part in batch.items()}),
            confidence=float(answered.confidences[row]),
            macs=float(macs[row]),
            layers=layers,
            patches=patches[row],
            text_layers=text_layers,
            dropped=[int(read[:, row, word].sum()) for word in range(length)],
            heads=_heads(gates, row, size),
        )


def _way(gates: Any, side: str, size: int) -> tuple[list[str], np.ndarray]:
    """The layers on a side's way, and what each of them reads of it, `[layers, batch, images, tokens]`.

    Args:
        gates: of a record.
        side: of the state; numbered sides (NLVR2's two images) go the same way.
        size: examples of the batch.
    """
    names, parts = [], []
    for run in ("image", "text", "fusion", "merge", "decoder"):
        own = [name for name in sorted(gates) if name.rstrip("01") in (f"{run}_{side}", side if run == side else "")]
        tokens = [gates[name].tokens for name in own]
        if tokens:
            by_image = [part.reshape(len(part), size, -1, part.shape[-1]) > 0 for part in tokens]
            parts.append(np.concatenate(by_image, axis=2))
            names += [f"{run} {layer}" for layer in range(len(tokens[0]))]
    return names, np.concatenate(parts)


def _heads(gates: Any, row: int, size: int) -> dict[str, float]:
    """Share of open heads of every attention module that the example ran through."""
    shares: dict[str, float] = {}
    for name, gate in sorted(gates.items()):
        for part, opened in gate.modules.items():
            suffix = part.removesuffix("heads").rstrip("_")
            mine = opened.reshape(len(opened), size, -1).mean(axis=-1)[:, row]
            shares |= {f"{name.replace('_', ' ')} {i} {suffix}".rstrip(): float(x) for i, x in enumerate(mine)}
    return shares
