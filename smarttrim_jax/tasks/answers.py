"""Answers that a decoder writes: BLIP's visual question answering."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from smarttrim_jax.data.language import Language
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.blip import BlipVqa
from smarttrim_jax.models.functional import Params
from smarttrim_jax.models.segments import Prefix
from smarttrim_jax.nn.primitives import split_key
from smarttrim_jax.objectives.language import answer_loss, sequence_distillation, word_accuracy
from smarttrim_jax.objectives.total import weighted_mean
from smarttrim_jax.tasks.base import Batch, Choice, ChoosingTask, model_inputs
from smarttrim_jax.trimming.gates import Trim

RANKED = 128
"""Answers of the list that are read to their end, the likeliest by their first word."""


class Answers(ChoosingTask):
    """The right answer is read word by word in training; in evaluation all answers of the data set are ranked.

    MACs are those of image, question and one answer: in training the right one, in evaluation the first in rank.
    """

    reads_answers = True

    def __init__(self, config: ExperimentConfig, language: Language):
        super().__init__(config, language)
        self.choices, text = language.answer_names, language.text
        ids, mask = (np.stack(part) for part in zip(*map(text.encode, self.choices), strict=True))
        ids[:, 0] = text.id_of("[DEC]")
        longest = mask.sum(axis=1).max()
        self._ids, self._mask = ids[:, :longest], mask[:, :longest]

    def begin_pass(self, params: Params, batch: Batch, *, key: jax.Array | None = None) -> Prefix:
        """What both passes have in common; see `Task.begin_pass`."""
        return self._bind(params).prefix(*model_inputs(self.config, batch), key=split_key(key, 2)[0])

    def run(
        self,
        params: Params,
        batch: Batch,
        begun: Prefix,
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
        full: Any = None,
    ) -> Output:
        """One pass over a batch; see `Task.run`."""
        module, keys = self._bind(params), split_key(key, 2)
        questions = module.finish(begun, trim=trim, key=keys[0])
        return module.decode(questions, *self._texts(batch["label"]), trim=trim, key=keys[1])

    def loss(self, output: Output, batch: Batch, given: None) -> Float[Array, ""]:
        """The task's loss of a pass; see `Task.loss`."""
        ids, mask = self._texts(batch["label"])
        losses = answer_loss(output.logits["answer"], ids, mask, jnp.ones(ids.shape[:2], jnp.float32))
        return weighted_mean(losses, batch["weight"])

    def distance(self, full: Output, trimmed: Output, batch: Batch, given: None) -> Float[Array, ""]:
        """How far the trimmed pass is from the full one; see `Task.distance`."""
        teacher, student, (_, mask) = full.logits["answer"], trimmed.logits["answer"], self._texts(batch["label"])
        distances = sequence_distillation(teacher, student, mask, self.config.objective.temperature)
        return weighted_mean(distances[:, 0], batch["weight"])

    def accuracy(self, output: Output, batch: Batch) -> Float[Array, ""]:
        """The share of answers that greedy search writes."""
        return jnp.mean(word_accuracy(output.logits["answer"], *self._texts(batch["label"])) == 1)

    def choose(self, params: Params, output: Output, trim: Trim | None) -> Choice:
        """The first in rank, and its probability among those that were read to their end."""
        module, answers = self._bind(params), (jnp.asarray(self._ids), jnp.asarray(self._mask))
        order, likelihoods = module.rank(output, *answers, RANKED, trim=trim)
        best = order[:, 0]
        record = module.decode(output, *self._texts(best), trim=trim).record
        return Choice(best, jax.nn.softmax(likelihoods)[:, 0], record)

    def _bind(self, params: Params) -> BlipVqa:
        return self.model.bind(params)

    def _texts(self, labels: Int[Array, " batch"]) -> tuple[Array, Array]:
        """Ids and mask of one answer to every question, `[batch, 1, tokens]`."""
        return jnp.asarray(self._ids)[labels][:, None], jnp.asarray(self._mask)[labels][:, None]
