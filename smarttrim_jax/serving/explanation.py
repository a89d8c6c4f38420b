"""What a model kept of each example, layer by layer, as plain data for pictures and pages."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, UInt8

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.metrics import Scores
from smarttrim_jax.serving.answering import Answered
from smarttrim_jax.serving.questions import Question
from smarttrim_jax.serving.trained_model import TrainedModel
from smarttrim_jax.tasks.base import model_inputs
from smarttrim_jax.trimming.gates import GatesByKey

BATCH_SIZE = 32
"""Examples at a time."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """One example.

    Attributes:
        index: of the example in its split.
        images: `[images, size, size, 3]` as the model saw them.
        words: tokens of the text without padding.
        answer: of the model.
        label: The right answer; None where it is not known.
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
    label: str | None
    confidence: float
    macs: float
    layers: list[str]
    patches: Bool[np.ndarray, "layers images rows columns"]
    text_layers: list[str]
    dropped: list[int]
    heads: dict[str, float]

    @property
    def correct(self) -> bool:
        """Whether the answer is not known to be wrong."""
        return self.label in (None, self.answer)


def explain(
    trained: TrainedModel,
    batches: Iterable[dict[str, Any]],
    speedup: float | None = None,
    scores: Scores | None = None,
) -> Iterator[Explanation]:
    """Runs the model over batches and yields what it kept.

    Args:
        trained: A model that trims.
        batches: Of the model's data (`data.pipeline.eval_batches`), or of questions (`asked_batches`).
        speedup: In MACs; by default the one that the model was trained for.
        scores: Metrics that take the examples too, which then have labels.

    Raises:
        ConfigError: A model that never trimmed, a speed-up beyond its dial, or a metric that fails.
    """
    trim = trained.trim(speedup)
    if trim is None:
        raise ConfigError("this model never trimmed; there is nothing to explain")
    task = trained.task
    judge = jax.jit(lambda params, output, batch: task.judge(params, output, batch, trim)[0])
    more_rows = jax.jit(task.more_rows)
    for batch in batches:
        images, ids, mask = model_inputs(trained.config, batch)
        output = trained.answering.execute(images, ids, mask, trim)
        if scores is not None:
            rows = judge(trained.params, output, batch)
            if not scores.needs.isdisjoint(task.on_demand):
                rows |= more_rows(trained.params, batch, trim)
            real = batch["weight"] > 0
            scores.update(*task.named_values({name: np.asarray(row)[real] for name, row in rows.items()}))
        yield from _examples(trained, batch, trained.answering.read(output, images, trim))


def asked_batches(trained: TrainedModel, questions: Sequence[Question]) -> Iterator[dict[str, Any]]:
    """Questions as batches of data without labels.

    Args:
        trained: The model that reads them.
        questions: What is asked.

    Raises:
        DataError: A question that cannot be asked.
    """
    for start in range(0, len(questions), BATCH_SIZE):
        prepared = [trained.reader(question) for question in questions[start : start + BATCH_SIZE]]
        yield {
            "image": np.stack([each.images for each in prepared]),
            "text_ids": np.stack([each.ids for each in prepared]),
            "text_mask": np.stack([each.mask for each in prepared]),
            "weight": np.ones(len(prepared), np.float32),
            "index": np.arange(start, start + len(prepared)),
        }


def _examples(trained: TrainedModel, batch: dict[str, Any], answered: Answered) -> Iterator[Explanation]:
    config, size = trained.config.model, len(batch["weight"])
    gates = jax.tree.map(np.asarray, answered.record).gates
    full = trained.model.macs(answered.record.opened(), trimmed=False)
    macs = np.asarray(trained.model.macs(answered.record) / full)
    grid = config.image_size // config.patch_size
    stages = [stage.name for stage in trained.model.bind(trained.params).stages]
    layers, seen = _read_by_layers(gates, stages, config.image_sides, size)
    patches = seen[..., 1:].reshape(len(seen), size, config.images, grid, grid).swapaxes(0, 1)
    text_layers, read_for_images = _read_by_layers(gates, stages, (config.text_side,), size)
    read = read_for_images.max(axis=2)
    for row in range(size):
        if batch["weight"][row] == 0:
            continue
        length = int(batch["text_mask"][row].sum())
        example = {name: part[row] for name, part in batch.items()}
        yield Explanation(
            index=int(batch["index"][row]),
            images=batch["image"][row],
            words=trained.language.text.tokens(batch["text_ids"][row][:length]),
            answer=answered.texts[row],
            label=trained.task.right_answer(example) if "label" in batch else None,
            confidence=float(answered.confidences[row]),
            macs=float(macs[row]),
            layers=layers,
            patches=patches[row],
            text_layers=text_layers,
            dropped=[int(read[:, row, word].sum()) for word in range(length)],
            heads=_heads(gates, row, size),
        )


def _read_by_layers(
    gates: GatesByKey, stages: Sequence[str], sides: Sequence[str], size: int
) -> tuple[list[str], np.ndarray]:
    """What every layer reads of a modality.

    Args:
        gates: The gates of a record.
        stages: The names of the model's stages in order; an encoder that is none of them comes first, a decoder last.
        sides: The sides of the state that hold the modality; those of one run are images of one example.
        size: Examples of the batch.

    Returns:
        Names of the layers in the order in which tokens pass them, and what each reads, `[layers, batch, images,
        tokens]`.
    """
    names = []
    parts = []
    runs = {key.run for key in gates if key.side in sides}

    def place(run: str) -> int:
        if run in stages:
            return stages.index(run)
        return -1 if run in sides else len(stages)

    for run in sorted(runs, key=place):
        tokens = [gates[key].tokens for key in sorted(gates) if key.run == run and key.side in sides]
        by_image = [part.reshape(len(part), size, -1, part.shape[-1]) > 0 for part in tokens]
        parts.append(np.concatenate(by_image, axis=2))
        names += [f"{run} {layer}" for layer in range(len(tokens[0]))]
    return names, np.concatenate(parts)


def _heads(gates: GatesByKey, row: int, size: int) -> dict[str, float]:
    """Share of open heads of every attention module that the example ran through."""
    shares: dict[str, float] = {}
    for key, gate in sorted(gates.items()):
        for part, opened in gate.modules.items():
            suffix = part.removesuffix("heads").rstrip("_")
            mine = opened.reshape(len(opened), size, -1).mean(axis=-1)[:, row]
            module = key.name.replace("_", " ")
            shares |= {f"{module} {i} {suffix}".rstrip(): float(x) for i, x in enumerate(mine)}
    return shares
