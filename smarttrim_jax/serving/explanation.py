"""What a model kept of each example, layer by layer, as plain data for pictures and pages."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, UInt8

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.evaluation.evaluator import named_values
from smarttrim_jax.evaluation.retriever import SearchableTask, SplitRetriever
from smarttrim_jax.metrics import NamedValues, Scores
from smarttrim_jax.metrics.judging import judge_all
from smarttrim_jax.metrics.retrieval import Retriever, Side, similarities
from smarttrim_jax.serving.answering import Answered
from smarttrim_jax.serving.questions import Question
from smarttrim_jax.serving.retrieved import Retrieved, retrieve
from smarttrim_jax.serving.trained_model import TrainedModel
from smarttrim_jax.sharding import MeshConfig, make_mesh
from smarttrim_jax.tasks import Captions
from smarttrim_jax.tasks.base import model_inputs
from smarttrim_jax.tasks.ranking import Ranking
from smarttrim_jax.trimming.gates import GatesByKey

BATCH_SIZE = 32
"""Examples per batch."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What the model answered to one example, and which tokens and heads it kept.

    Attributes:
        index: Position of the example in its split.
        images: Images as the model saw them, `[images, size, size, 3]`.
        text: The text as the model read it: a word that it does not know is [UNK].
        words: Tokens of the text, without padding.
        answer: Answer of the model.
        label: The right answer; None where it is not known.
        confidence: Probability of the answer; see `Answered`.
        macs: Share of the full model's MACs that was spent.
        layers: Names of the layers that images pass, in order, for example "image 0" or "fusion 1".
        patches: Which patches each of these layers reads, `[layers, images, rows, columns]`.
        text_layers: Names of the layers that texts pass, in order.
        dropped: For every word, the number of text layers that read it: the index of the layer that closed it, or the
            number of text layers if none did.
        heads: Share of open heads by attention module and layer, for example "image 0" or "fusion image 1 cross".
        references: Texts that people wrote, beside which to read the one that the model wrote; empty for a choice.
        found_images: What the text finds among the images of the explained examples; None for tasks other than
            retrieval.
        found_texts: What the image finds among the texts of the explained examples, the first of each; likewise.
    """

    index: int
    images: UInt8[np.ndarray, "images size size 3"]
    text: str
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
    references: list[str] = dataclasses.field(default_factory=list)
    found_images: Retrieved | None = None
    found_texts: Retrieved | None = None

    @property
    def correct(self) -> bool:
        """Whether the answer equals the label; also true where no label is known, and for written texts."""
        return bool(self.references) or self.label in (None, self.answer)


def explain(
    trained: TrainedModel,
    batches: Iterable[dict[str, Any]],
    speedup: float | None = None,
    scores: Scores | None = None,
) -> Iterator[Explanation]:
    """Runs the model over batches and yields what it kept of every example.

    Args:
        trained: A model that trims.
        batches: Batches of the model's data (`data.pipeline.eval_batches`), or of questions (`asked_batches`).
        speedup: Speed-up in MACs; None for the one that the model was trained for.
        scores: Metrics that receive the examples too, which then must have labels; None for none.

    Yields:
        The explanation of each example, in order, fillers left out. Those of a model of retrieval come after the last
        batch, since what is found depends on all.

    Raises:
        ConfigError: The model has never been trimmed, the speed-up is beyond its dial, or a metric fails.
    """
    trim = trained.trim(speedup)
    if trim is None:
        raise ConfigError("this model never trimmed; there is nothing to explain")
    task = trained.task
    judge = jax.jit(lambda params, output, batch: task.judge(params, output, batch, trim)[0])
    more_rows = jax.jit(task.more_rows)
    needs = {"references"} | (set() if scores is None else scores.needs)
    if isinstance(task, Ranking):
        needs.update(task.on_demand)  # What it finds is known by judging all pairs.
    compared: list[tuple[list[Explanation], NamedValues, NamedValues]] = []
    for batch in batches:
        images, ids, mask = model_inputs(trained.config, batch)
        output = trained.answering.execute(images, ids, mask, trim)
        answered = trained.answering.read(output, images, trim)
        if "label" not in batch:
            yield from _examples(trained, batch, answered, {})
            continue
        rows = judge(trained.params, output, batch)
        if not needs.isdisjoint(task.on_demand):
            rows |= more_rows(trained.params, batch, trim)
        real = batch["weight"] > 0
        rows = {name: np.asarray(row)[real] for name, row in rows.items()}
        outputs, targets = named_values(task, batches, batch["index"][real], rows, needs)
        if scores is not None:
            scores.update(outputs, targets)
        examples = _examples(trained, batch, answered, targets)
        if isinstance(task, SearchableTask):
            compared.append((list(examples), outputs, targets))
        else:
            yield from examples
    if isinstance(task, SearchableTask) and compared:
        mesh = make_mesh(MeshConfig(), jax.local_devices()[:1])
        retriever = SplitRetriever(task, trained.params, mesh, trim, BATCH_SIZE)
        if scores is not None:
            scores.search(retriever)
        explained, all_outputs, all_targets = zip(*compared, strict=True)
        yield from _with_retrieved(explained, all_outputs, all_targets, retriever)


def asked_batches(trained: TrainedModel, questions: Sequence[Question]) -> Iterator[dict[str, Any]]:
    """Converts questions to batches without labels.

    Args:
        trained: The model that reads the questions.
        questions: Questions to ask.

    Yields:
        Batches for `explain` of up to `BATCH_SIZE` questions: `image`, `text_ids`, `text_mask`, `weight` (1) and
        `index`.

    Raises:
        DataError: A question cannot be asked.
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


def _with_retrieved(
    examples: Iterable[list[Explanation]],
    outputs: Sequence[NamedValues],
    targets: Sequence[NamedValues],
    retriever: Retriever,
) -> Iterator[Explanation]:
    """Adds to the examples of all batches what their images and texts find among each other."""
    explained = list(itertools.chain.from_iterable(examples))
    labels = np.concatenate([each["label"] for each in targets])
    of_texts: Iterable[tuple[np.ndarray, np.ndarray]]
    of_images: Iterable[tuple[np.ndarray, np.ndarray]]
    if "image_features" in outputs[0]:
        images = Side(np.concatenate([each["image_features"] for each in outputs]), labels)
        texts = Side(np.concatenate([each["text_features"] for each in outputs]), labels)
        of_texts = similarities(texts, images)
        of_images = similarities(images, texts)
    elif "references" not in targets[0]:  # A judge reads texts, which these records do not have.
        yield from explained
        return
    else:
        said = [references[0] for each in targets for references in each["references"]]
        judged = judge_all(retriever, [(each["image_tokens"], each["image_gates"]) for each in outputs], said)
        of_texts = [(labels, judged.T)]
        of_images = [(labels, judged)]
    found_images = retrieve(of_texts, labels, [example.images for example in explained])
    found_texts = retrieve(of_images, labels, [example.text for example in explained])
    for example, of_text, of_image in zip(explained, found_images, found_texts, strict=True):
        yield dataclasses.replace(example, found_images=of_text, found_texts=of_image)


def _examples(
    trained: TrainedModel, batch: dict[str, Any], answered: Answered, targets: Mapping[str, Any]
) -> Iterator[Explanation]:
    """Yields the explanations of a batch's examples, fillers left out; targets are those of real examples."""
    config, size = trained.config.model, len(batch["weight"])
    gates = jax.tree.map(np.asarray, answered.record).gates
    macs = np.asarray(trained.model.macs(answered.record) / trained.model.full_macs(answered.record))
    grid = config.image_size // config.patch_size
    stages = [stage.name for stage in trained.model.bind(trained.params).stages]
    layers, seen = _read_by_layers(gates, stages, config.image_sides, size)
    patches = seen[..., 1:].reshape(len(seen), size, config.images, grid, grid).swapaxes(0, 1)
    text_layers, read_for_images = _read_by_layers(gates, stages, (config.text_side,), size)
    read = read_for_images.max(axis=2)
    references: Sequence[list[str]] = [[]] * size
    if isinstance(trained.task, Captions) and "label" in batch:
        references = targets.get("references") or [[text] for text in targets["caption"]]
    for number, row in enumerate(np.flatnonzero(batch["weight"] > 0).tolist()):
        length = int(batch["text_mask"][row].sum())
        read_ids = batch["text_ids"][row][:length]
        example = {name: part[row] for name, part in batch.items()}
        yield Explanation(
            index=int(batch["index"][row]),
            images=batch["image"][row],
            text=trained.language.text.written(read_ids),
            words=trained.language.text.tokens(read_ids),
            answer=answered.texts[row],
            label=trained.task.right_answer(example) if "label" in batch else None,
            confidence=float(answered.confidences[row]),
            macs=float(macs[row]),
            layers=layers,
            patches=patches[row],
            text_layers=text_layers,
            dropped=[int(read[:, row, word].sum()) for word in range(length)],
            heads=_heads(gates, row, size),
            references=references[number],
        )


def _read_by_layers(
    gates: GatesByKey, stages: Sequence[str], sides: Sequence[str], size: int
) -> tuple[list[str], np.ndarray]:
    """Finds out what every layer reads of a modality.

    Args:
        gates: Gates of a record.
        stages: Names of the model's stages in order; an encoder that is none of them comes first, a decoder last.
        sides: Sides of the state that hold the modality; several sides of one run are images of one example.
        size: Number of examples of the batch.

    Returns:
        Names of the layers in the order in which tokens pass them, and which tokens each reads, bool
        `[layers, batch, images, tokens]`.
    """
    names = []
    parts = []
    runs = {key.run for key in gates if key.side in sides}

    def place(run: str) -> int:
        """Sort key of a run of layers: its position among the stages.

        Args:
            run: Name of a run of layers.

        Returns:
            The position; -1 for an encoder, and behind all stages for a decoder.
        """
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
    """Share of open heads of every attention module for one example, by the module's name."""
    shares: dict[str, float] = {}
    for key, gate in sorted(gates.items()):
        for part, opened in gate.modules.items():
            suffix = part.removesuffix("heads").rstrip("_")
            mine = opened.reshape(len(opened), size, -1).mean(axis=-1)[:, row]
            module = key.name.replace("_", " ")
            shares |= {f"{module} {i} {suffix}".rstrip(): float(x) for i, x in enumerate(mine)}
    return shares
