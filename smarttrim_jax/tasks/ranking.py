"""Texts ranked for an image by reading each of them beside it: retrieval with METER."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.metrics import NamedValues
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Params
from smarttrim_jax.models.meter import Meter
from smarttrim_jax.models.segments import Prefix
from smarttrim_jax.nn.primitives import split_key
from smarttrim_jax.objectives.losses import distillation_loss
from smarttrim_jax.objectives.retrieval import wrong_texts
from smarttrim_jax.objectives.total import weighted_mean
from smarttrim_jax.tasks.base import Batch, Choice, Rows
from smarttrim_jax.tasks.matching import Matching
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Trim, TrimRecord

WRONG_TEXTS = 15
"""Number of wrong texts that each right one is compared with (`draw_false_text` of METER's `config.py`)."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RankingPass:
    """Result of one training pass over the images of a batch.

    Attributes:
        scores: How well each text fits the image, the right text first, `[batch, texts]`.
        texts: Rows of the batch that hold the texts, `[batch, texts]`.
        record: Gates of the right pairs only, so that the cost is that of one pair per example.
    """

    scores: Float[Array, "batch texts"]
    texts: Int[Array, "batch texts"]
    record: TrimRecord


class Ranking(Matching):
    """The right text of each image is told from wrong ones (`compute_irtr` of METER's `objectives.py`).

    Wrong texts are drawn from the same batch, while METER draws them from the whole data set; with batches of some
    hundred this is nearly the same, and no text is read for it alone. METER also goes on with the matching loss of
    pre-training, which is left out here. In evaluation all texts of a split are read beside all of its images.
    """

    metrics = ("judged_recall",)

    def begin_pass(self, params: Params, batch: Batch, *, key: jax.Array | None = None) -> Prefix:
        """Computes the image layers that never trim; see `Task.begin_pass`.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline.
            key: Random key of the full pass; None for a deterministic pass.

        Returns:
            The state of the image encoder.
        """
        return self._bind(params).image_prefix(self._images(batch), key=split_key(key, 3)[0])

    def run(
        self,
        params: Params,
        batch: Batch,
        begun: Prefix,
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
        full: RankingPass | None = None,
    ) -> RankingPass:
        """Reads the right text and wrong ones beside each image; see `Task.run`.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline.
            begun: Result of `begin_pass`.
            trim: How the trimmers decide; None runs at full capacity.
            key: Random key of this pass (dropout, sampled gates, wrong texts); None for a deterministic pass.
            full: The pass at full capacity whose texts are read again; None draws wrong texts.

        Returns:
            Scores, texts and record of the pass.
        """
        module, keys = self._bind(params), split_key(key, 3)
        image, record = module.finish_images(begun, trim=trim, key=keys[0])
        if full is None:
            draw = jax.random.key(0) if keys[1] is None else keys[1]
            own = jnp.arange(len(batch["label"]))[:, None]
            texts = jnp.concatenate([own, wrong_texts(draw, batch["label"], WRONG_TEXTS)], axis=1)
        else:
            texts = full.texts
        count = texts.shape[1]
        ids, mask = (batch[name][texts.ravel()] for name in ("text_ids", "text_mask"))
        pairs = module.match(image.repeat(count), ids, mask, trim=trim, key=keys[2])
        scores = self.pair_scores(pairs).reshape(texts.shape)
        return RankingPass(scores, texts, record | pairs.record.of_rows(slice(None, None, count)))

    def loss(self, output: RankingPass, batch: Batch, given: None) -> Float[Array, ""]:
        """Computes the cross-entropy of the right text among all that are read; see `Task.loss`.

        Args:
            output: A pass of `run`.
            batch: The batch that the pass is of.
            given: Always None.

        Returns:
            Scalar loss, the weighted mean over the batch.
        """
        right = jnp.zeros(len(output.scores), jnp.int32)
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(output.scores, right)
        return weighted_mean(losses, batch["weight"])

    def distance(self, full: RankingPass, trimmed: RankingPass, batch: Batch, given: None) -> Float[Array, ""]:
        """Distils the ranking of the same texts by the full pass; see `Task.distance`.

        Args:
            full: The pass at full capacity, the teacher.
            trimmed: The trimmed pass of the same texts, the student.
            batch: The batch that both passes are of.
            given: Always None.

        Returns:
            Scalar distance at temperature `objective.temperature`, the weighted mean over the batch.
        """
        softness = self.config.objective.temperature
        distances = distillation_loss("softmax", full.scores, trimmed.scores, softness)
        return weighted_mean(distances, batch["weight"])

    def accuracy(self, output: RankingPass, batch: Batch) -> Float[Array, ""]:
        """Measures the share of images whose right text has the highest score.

        Args:
            output: A pass of `run`.
            batch: The batch that the pass is of.

        Returns:
            Scalar share in 0..1.
        """
        return jnp.mean(jnp.argmax(output.scores, axis=1) == 0)

    def judge(self, params: Params, output: Output, batch: Batch, trim: Trim | None) -> tuple[Rows, TrimRecord]:
        """Keeps what the metrics need of a batch; see `Task.judge`.

        Args:
            params: The model's parameters.
            output: Output of the model's call.
            batch: Batch of the data pipeline.
            trim: How the trimmers decided; None for full capacity.

        Returns:
            Rows `score` and `label`, each `[batch]`, and the record of the right pairs.
        """
        return {"score": self.pair_scores(output), "label": batch["label"]}, output.record

    def named_values(self, rows: Rows) -> tuple[NamedValues, NamedValues]:
        """Names scores and encoded images for the metrics; see `Task.named_values`.

        Args:
            rows: NumPy arrays `score` and `label` `[examples]` and, if asked for, those of `more_rows`.

        Returns:
            Outputs `score` and, on demand, `image_tokens` and `image_gates`; target `label`.
        """
        outputs = {name: rows[name] for name in ("score", *self.on_demand) if name in rows}
        return NamedValues("output", outputs, self.on_demand), NamedValues("target", {"label": rows["label"]})

    def text_features(
        self, params: Params, ids: Int[Array, "batch tokens"], mask: Int[Array, "batch tokens"], trim: Trim | None
    ) -> Float[Array, "batch features"]:
        """Refuses to encode texts without an image, which this model cannot compare.

        Args:
            params: Ignored.
            ids: Ignored.
            mask: Ignored.
            trim: Ignored.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError("METER compares no features of images and texts; take the metric judged_recall")

    def choose(self, params: Params, output: Output, trim: Trim | None) -> Choice:
        """Decides whether image and text match; see `ChoosingTask.choose`.

        Args:
            params: Ignored; the output has the scores.
            output: Output of the model's call.
            trim: Ignored; the output has been trimmed already.

        Returns:
            "match" for a score above 0, with the sigmoid of the score for a probability, and the record of the
            output. Training compares the texts of an image only, so scores of different images have no common zero.
        """
        score = self.pair_scores(output)
        return Choice((score > 0).astype(jnp.int32), jax.nn.sigmoid(jnp.abs(score)), output.record)

    def encoded_images(self, params: Params, batch: Batch, trim: Trim | None) -> Tokens:
        """Encodes the images of a batch on their own; see `Matching.encoded_images`."""
        module = self._bind(params)
        image, _ = module.finish_images(module.image_prefix(self._images(batch)), trim=trim)
        return image

    def pair_scores(self, output: Output) -> Float[Array, " pairs"]:
        """Reads the only number of the head; see `Matching.pair_scores`."""
        return output.logits[self.config.task][:, 0]

    def _bind(self, params: Params) -> Meter:
        module: Meter = self.model.bind(params)
        return module
