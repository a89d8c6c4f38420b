"""Texts that a decoder writes about images: captions with BLIP."""

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
    """Captioning: the text of every example is predicted word by word.

    Captions are written only for metrics that need them (`caption` is computed on demand).

    Attributes:
        text: Tokenizer that encodes texts and decodes ids.
        prompt: Token ids that every text begins with, [DEC] first, `[prompt tokens]`.
    """

    metrics = ("word_accuracy",)
    on_demand = ("caption",)

    def __init__(self, config: ExperimentConfig, language: Language):
        super().__init__(config, language)
        self.text, self.prompt = language.text, np.array([language.text.id_of("[DEC]")])
        if config.data.prompt:
            ids, mask = language.text.encode(config.data.prompt)
            self.prompt = ids[: mask.sum() - 1]  # Without the end token.

    def loss(self, output: Output, batch: Batch, given: None) -> Float[Array, ""]:
        """Computes BLIP's caption loss; see `Task.loss`.

        Args:
            output: A pass whose `logits["caption"]` are `[batch, tokens, words]`.
            batch: The batch that the pass is of.
            given: Always None.

        Returns:
            Scalar loss: mean cross-entropy over all words of the batch that follow the prompt.
        """
        mask = batch["text_mask"] * batch["weight"][:, None]
        return caption_loss(output.logits["caption"], batch["text_ids"], mask, len(self.prompt))

    def distance(self, full: Output, trimmed: Output, batch: Batch, given: None) -> Float[Array, ""]:
        """Compares both passes word by word; see `Task.distance`.

        Args:
            full: The pass at full capacity, the teacher.
            trimmed: The trimmed pass, the student.
            batch: The batch that both passes are of.
            given: Always None.

        Returns:
            Scalar distance: mean over all words of the batch that follow the prompt.
        """
        scored = self._scored(batch) * batch["weight"][:, None]
        teacher, student = full.logits["caption"], trimmed.logits["caption"]
        distances = sequence_distillation(teacher, student, scored, self.config.objective.temperature)
        return jnp.sum(distances) / jnp.maximum(jnp.sum(scored), 1)

    def accuracy(self, output: Output, batch: Batch) -> Float[Array, ""]:
        """Measures the share of words predicted right, averaged over the captions of the batch.

        Args:
            output: A pass whose `logits["caption"]` are `[batch, tokens, words]`.
            batch: The batch that the pass is of.

        Returns:
            Scalar share in 0..1.
        """
        return jnp.mean(self._right(output, batch))

    def judge(self, params: Params, output: Output, batch: Batch, trim: Trim | None) -> tuple[Rows, TrimRecord]:
        """Measures the words predicted right of every example; see `Task.judge`.

        Args:
            params: The model's parameters.
            output: Output whose `logits["caption"]` are `[batch, tokens, words]`.
            batch: Batch of the data pipeline.
            trim: How the trimmers decided; None for full capacity.

        Returns:
            Rows `right_words` `[batch]` and `text_ids` `[batch, tokens]`, and the record of the output.
        """
        return {"right_words": self._right(output, batch), "text_ids": batch["text_ids"]}, output.record

    def more_rows(self, params: Params, batch: Batch, trim: Trim | None) -> Rows:
        """Writes captions; see `Task.more_rows`.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline; only `image` is read.
            trim: How the trimmers decide; None for full capacity.

        Returns:
            Row `caption_ids`: token ids of the written captions, prompt included, `[batch, tokens]`.
        """
        images, *_ = model_inputs(self.config, batch)
        return {"caption_ids": self.write(params, images, trim).ids}

    def named_values(self, rows: Rows) -> tuple[NamedValues, NamedValues]:
        """Decodes captions for the metrics, without the prompt; see `Task.named_values`.

        Args:
            rows: NumPy arrays `right_words` `[examples]`, `text_ids` `[examples, tokens]` and, if asked for,
                `caption_ids` `[examples, tokens]`.

        Returns:
            Outputs `right_words` (share of words predicted right) and, on demand, `caption` (texts); target `caption`
            (texts).
        """
        outputs = {"right_words": rows["right_words"]}
        if "caption_ids" in rows:
            outputs["caption"] = self.captions(rows["caption_ids"])
        targets = {"caption": self.captions(rows["text_ids"])}
        return NamedValues("output", outputs, self.on_demand), NamedValues("target", targets)

    def write(self, params: Params, images: Float[Array, "batch images size size 3"], trim: Trim | None) -> Generated:
        """Writes captions by greedy search, with padded execution: closed tokens are masked.

        Args:
            params: The model's parameters.
            images: Normalised images, `[batch, images, size, size, 3]`.
            trim: How the trimmers decide; None runs at full capacity.

        Returns:
            The written token ids, at most `data.text_length` per caption including the prompt.
        """
        text, length = self.text, self.config.data.text_length
        wanted = GenerationConfig(eos_id=text.end_id, pad_id=text.pad_id, max_length=length)
        prompt = jnp.tile(jnp.asarray(self.prompt), (len(images), 1))
        return write_captions(self.model.bind(params), images, prompt, wanted, trim=trim)

    def right_answer(self, example: Batch) -> str:
        """Decodes the reference text of the example; see `Task.right_answer`.

        Args:
            example: Arrays of one example; `text_ids` is read.

        Returns:
            The text of the example, without the prompt.
        """
        return self.captions(np.asarray(example["text_ids"])[None])[0]

    def captions(self, ids: Int[np.ndarray, "examples tokens"]) -> list[str]:
        """Decodes captions, without the prompt that each of them begins with.

        Args:
            ids: Token ids, `[examples, tokens]`; what follows an end token is left out.

        Returns:
            The texts.
        """
        return [self.text.written(each[len(self.prompt) :]) for each in ids]

    def _scored(self, batch: Batch) -> Array:
        return words_behind(batch["text_mask"], len(self.prompt))

    def _right(self, output: Output, batch: Batch) -> Float[Array, " batch"]:
        return word_accuracy(output.logits["caption"], batch["text_ids"], self._scored(batch))
