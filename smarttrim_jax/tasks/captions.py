"""Texts that a decoder writes about images: BLIP's captions."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from smarttrim_jax.data.language import Language
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.generation import GenerationConfig
from smarttrim_jax.generation.blip import write_captions
from smarttrim_jax.generation.decoding import Generated
from smarttrim_jax.metrics import NamedValues
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Params
from smarttrim_jax.objectives.language import caption_loss, sequence_distillation, word_accuracy, words_behind
from smarttrim_jax.tasks.base import Batch, Rows, Task, model_inputs
from smarttrim_jax.trimming.gates import Trim, TrimRecord


class Captions(Task):
    """The text of every example, word by word; captions are written for the metrics that need them.

    Attributes:
        text: encodes and writes texts.
        prompt: ids that every text begins with.
    """

    metrics = ("word_accuracy",)
    on_demand = ("caption",)

    def __init__(self, config: ExperimentConfig, language: Language):
        super().__init__(config, language)
        self.text, self.prompt = language.text, np.array([language.text.id_of("[DEC]")])
        if config.data.prompt:
            ids, mask = language.text.encode(config.data.prompt)
            self.prompt = ids[: mask.sum() - 1]  # without the end

    def loss(self, output: Output, batch: Batch, given: None) -> Float[Array, ""]:
        """The task's loss of a pass; see `Task.loss`."""
        mask = batch["text_mask"] * batch["weight"][:, None]
        return caption_loss(output.logits["caption"], batch["text_ids"], mask, len(self.prompt))

    def distance(self, full: Output, trimmed: Output, batch: Batch, given: None) -> Float[Array, ""]:
        """How far the trimmed pass is from the full one; see `Task.distance`."""
        scored = self._scored(batch) * batch["weight"][:, None]
        teacher, student = full.logits["caption"], trimmed.logits["caption"]
        distances = sequence_distillation(teacher, student, scored, self.config.objective.temperature)
        return jnp.sum(distances) / jnp.maximum(jnp.sum(scored), 1)

    def accuracy(self, output: Output, batch: Batch) -> Float[Array, ""]:
        """How well a training pass does; see `Task.accuracy`."""
        return jnp.mean(self._right(output, batch))

    def judge(self, params: Params, output: Output, batch: Batch, trim: Trim | None) -> tuple[Rows, TrimRecord]:
        """What the metrics need of every example; see `Task.judge`."""
        return {"right_words": self._right(output, batch), "text_ids": batch["text_ids"]}, output.record

    def more_rows(self, params: Params, batch: Batch, trim: Trim | None) -> Rows:
        """What only some metrics need of every example; see `Task.more_rows`."""
        images, *_ = model_inputs(self.config, batch)
        return {"caption_ids": self.write(params, images, trim).ids}

    def named_values(self, rows: Rows) -> tuple[NamedValues, NamedValues]:
        """Outputs `right_words` (their share) and, on demand, `caption`; target `caption`; without the prompt."""
        outputs = {"right_words": rows["right_words"]}
        if "caption_ids" in rows:
            outputs["caption"] = self._behind_prompt(rows["caption_ids"])
        targets = {"caption": self._behind_prompt(rows["text_ids"])}
        return NamedValues("output", outputs, self.on_demand), NamedValues("target", targets)

    def write(self, params: Params, images: Float[Array, "batch images size size 3"], trim: Trim | None) -> Generated:
        """Writes captions greedily, from images whose closed tokens are masked.

        Args:
            params: of the model.
            images: normalised.
            trim: how the trimmers decide; None runs at full capacity.
        """
        text, length = self.text, self.config.data.text_length
        wanted = GenerationConfig(eos_id=text.end_id, pad_id=text.pad_id, max_length=length)
        prompt = jnp.tile(jnp.asarray(self.prompt), (len(images), 1))
        return write_captions(self.model.bind(params), images, prompt, wanted, trim=trim)

    def right_answer(self, example: Batch) -> str:
        """What should be answered to an example; see `Task.right_answer`."""
        return self.text.written(np.asarray(example["text_ids"]))

    def _behind_prompt(self, ids: Int[np.ndarray, "examples tokens"]) -> list[str]:
        return [self.text.written(each[len(self.prompt) :]) for each in ids]

    def _scored(self, batch: Batch) -> Array:
        return words_behind(batch["text_mask"], len(self.prompt))

    def _right(self, output: Output, batch: Batch) -> Float[Array, " batch"]:
        return word_accuracy(output.logits["caption"], batch["text_ids"], self._scored(batch))
