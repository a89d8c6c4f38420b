"""Texts that a decoder writes about images: BLIP's captions."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from smarttrim_jax.data.language import Language
from smarttrim_jax.models.functional import Params
from smarttrim_jax.models.output import Output
from smarttrim_jax.objectives.language import caption_loss, sequence_distillation, word_accuracy, words_behind
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.forward import Batch
from smarttrim_jax.training.tasks.base import Rows, Task
from smarttrim_jax.trimming.gates import Trim, TrimRecord


class Captions(Task):
    """The text of every example, word by word.

    Accuracy is the mean share of a text's words that are the likeliest behind those before them.

    Attributes:
        text: encodes and writes texts.
        prompt: ids that every text begins with.
    """

    def __init__(self, config: ExperimentConfig, language: Language):
        super().__init__(config, language)
        self.text, self.prompt = language.text, np.array([language.text.id_of("[DEC]")])
        if config.data.prompt:
            ids, mask = language.text.encode(config.data.prompt)
            self.prompt = ids[: mask.sum() - 1]  # without the end

    def loss(self, output: Output, batch: Batch, given: None) -> Float[Array, ""]:
        mask = batch["text_mask"] * batch["weight"][:, None]
        return caption_loss(output.logits["caption"], batch["text_ids"], mask, len(self.prompt))

    def distance(self, full: Output, trimmed: Output, batch: Batch, given: None) -> Float[Array, ""]:
        scored = self._scored(batch) * batch["weight"][:, None]
        teacher, student = full.logits["caption"], trimmed.logits["caption"]
        distances = sequence_distillation(teacher, student, scored, self.config.objective.temperature)
        return jnp.sum(distances) / jnp.maximum(jnp.sum(scored), 1)

    def accuracy(self, output: Output, batch: Batch) -> Float[Array, ""]:
        return jnp.mean(self._right(output, batch))

    def judge(self, params: Params, output: Output, batch: Batch, trim: Trim | None) -> tuple[Rows, TrimRecord]:
        return {"correct": self._right(output, batch)}, output.record

    def right_answer(self, example: Batch) -> str:
        return self.text.written(np.asarray(example["text_ids"]))

    def _scored(self, batch: Batch) -> Array:
        return words_behind(batch["text_mask"], len(self.prompt))

    def _right(self, output: Output, batch: Batch) -> Float[Array, " batch"]:
        return word_accuracy(output.logits["caption"], batch["text_ids"], self._scored(batch))
