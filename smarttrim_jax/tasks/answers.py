"""Answers that a decoder writes: visual question answering with BLIP."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from smarttrim_jax.data.language import Language
from smarttrim_jax.errors import ConfigError
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
"""Number of answers scored in full, chosen by their first word; k_test of the official BLIP evaluation."""


class Answers(ChoosingTask):
    """Visual question answering with a decoder: training scores the right answer, evaluation ranks all answers.

    The decoder learns the right answer word by word; of weighted answers it learns one at a time, which the batch
    draws by the weights, so that over the epochs it learns all of them as BLIP does in each step. In evaluation every
    answer of the data set is a candidate. The MACs of an example are those of image, question and one answer: the
    right answer in training, the best ranked one in evaluation.

    Raises:
        ConfigError: No answers are known.
    """

    reads_answers = True

    def __init__(self, config: ExperimentConfig, language: Language):
        super().__init__(config, language)
        if not language.answer_names:
            raise ConfigError("BLIP's vqa ranks known answers, but none are given; name them (answers=...)")
        self.choices, text = language.answer_names, language.text
        ids, mask = (np.stack(part) for part in zip(*map(text.encode, self.choices), strict=True))
        ids[:, 0] = text.id_of("[DEC]")
        longest = mask.sum(axis=1).max()
        self._ids, self._mask = ids[:, :longest], mask[:, :longest]

    def begin_pass(self, params: Params, batch: Batch, *, key: jax.Array | None = None) -> Prefix:
        """Encodes what both passes share of image and question; see `Task.begin_pass`.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline.
            key: Random key of the full pass; None for a deterministic pass.

        Returns:
            The state behind the layers that never trim.
        """
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
        """Encodes the questions and decodes the right answers; see `Task.run`.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline; `label` `[batch]` selects the answers.
            begun: Result of `begin_pass`.
            trim: How the trimmers decide; None runs at full capacity.
            key: Random key of this pass; None for a deterministic pass.
            full: Ignored; the passes share no random choices.

        Returns:
            Output whose `logits["answer"]` are `[batch, 1, tokens, words]`: one answer per question.
        """
        module, keys = self._bind(params), split_key(key, 2)
        questions = module.finish(begun, trim=trim, key=keys[0])
        return module.decode(questions, *self._texts(batch["label"]), trim=trim, key=keys[1])

    def loss(self, output: Output, batch: Batch, given: None) -> Float[Array, ""]:
        """Computes BLIP's answer loss of one answer per question; see `Task.loss`.

        Args:
            output: A pass of `run`.
            batch: The batch that the pass is of. With `answer_weights` `[batch, answers]` the answer stands for all
                of them and has the sum of their weights; otherwise its weight is 1.
            given: Always None.

        Returns:
            Scalar loss: the summed cross-entropy of the words of an answer times its weight, as weighted mean over
            the batch.
        """
        ids, mask = self._texts(batch["label"])
        answers = batch.get("answer_weights", jnp.ones((len(ids), 1), jnp.float32))
        losses = answer_loss(output.logits["answer"], ids, mask, jnp.sum(answers, axis=1, keepdims=True))
        return weighted_mean(losses, batch["weight"])

    def distance(self, full: Output, trimmed: Output, batch: Batch, given: None) -> Float[Array, ""]:
        """Compares both passes word by word over the right answer; see `Task.distance`.

        Args:
            full: The pass at full capacity, the teacher.
            trimmed: The trimmed pass, the student.
            batch: The batch that both passes are of.
            given: Always None.

        Returns:
            Scalar distance: summed over the words of an answer, as weighted mean over the batch.
        """
        teacher, student, (_, mask) = full.logits["answer"], trimmed.logits["answer"], self._texts(batch["label"])
        distances = sequence_distillation(teacher, student, mask, self.config.objective.temperature)
        return weighted_mean(distances[:, 0], batch["weight"])

    def accuracy(self, output: Output, batch: Batch) -> Float[Array, ""]:
        """Measures how many answers greedy decoding would write without an error.

        Args:
            output: A pass of `run`.
            batch: The batch that the pass is of.

        Returns:
            Scalar share of questions all of whose answer's words are the likeliest ones.
        """
        return jnp.mean(word_accuracy(output.logits["answer"], *self._texts(batch["label"])) == 1)

    def choose(self, params: Params, output: Output, trim: Trim | None) -> Choice:
        """Ranks all answers and chooses the best; see `ChoosingTask.choose`.

        Args:
            params: The model's parameters.
            output: The encoded questions.
            trim: How the trimmers decide in the decoder; None for full capacity.

        Returns:
            The best ranked answers. A probability is relative to the candidates that were scored in full (at most
            `RANKED`).
        """
        module, answers = self._bind(params), (jnp.asarray(self._ids), jnp.asarray(self._mask))
        order, likelihoods = module.rank(output, *answers, RANKED, trim=trim)
        best = order[:, 0]
        record = module.decode(output, *self._texts(best), trim=trim).record
        return Choice(best, jax.nn.softmax(likelihoods)[:, 0], record)

    def _bind(self, params: Params) -> BlipVqa:
        module: BlipVqa = self.model.bind(params)
        return module

    def _texts(self, labels: Int[Array, " batch"]) -> tuple[Array, Array]:
        """Looks up token ids and mask of the answers with these numbers, each `[batch, 1, tokens]`."""
        return jnp.asarray(self._ids)[labels][:, None], jnp.asarray(self._mask)[labels][:, None]
