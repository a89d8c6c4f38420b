"""Image-text retrieval with BLIP: contrastive learning and matching of pairs."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.data.language import Language
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.metrics import NamedValues
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.blip import BlipRetrieval
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.segments import Prefix
from smarttrim_jax.nn.primitives import split_key
from smarttrim_jax.objectives.losses import distillation_loss
from smarttrim_jax.objectives.retrieval import (
    Queue,
    bounded_temperature,
    empty_queue,
    enqueue,
    hard_negatives,
    itc_loss,
    itm_loss,
    momentum_update,
    row_distillation,
)
from smarttrim_jax.objectives.total import weighted_mean
from smarttrim_jax.tasks.base import Batch, Choice, Rows, TaskState
from smarttrim_jax.tasks.matching import Matching
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Trim, TrimRecord


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairsPass:
    """Result of one training pass over the pairs of a batch.

    Attributes:
        images: Image features, normalised to length 1, `[batch, features]`.
        texts: Text features, normalised to length 1, `[batch, features]`.
        matches: Logits (no match, match), `[3, batch, 2]`: of the right pairs, of every text with a wrong image, and
            of every image with a wrong text.
        negatives: Rows of the batch that hold the wrong images and the wrong texts, each `[batch]`.
        temperature: Learned temperature of the similarities, a scalar.
        record: Gates of the right pairs only, so that the cost is that of one pair per example.
    """

    images: Float[Array, "batch features"]
    texts: Float[Array, "batch features"]
    matches: Float[Array, "3 batch 2"]
    negatives: tuple[Int[Array, " batch"], Int[Array, " batch"]]
    temperature: Float[Array, ""]
    record: TrimRecord


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Momentum:
    """What the momentum model gives for a batch.

    Attributes:
        images: Image features, normalised to length 1, `[batch, features]`.
        texts: Text features, normalised to length 1, `[batch, features]`.
        queue: Features of earlier batches.
        alpha: Share of the momentum model's similarities in the contrastive targets, a scalar.
    """

    images: Float[Array, "batch features"]
    texts: Float[Array, "batch features"]
    queue: Queue
    alpha: Float[Array, ""]


class Pairs(Matching):
    """Image-text contrastive learning, and matching of pairs with hard negatives; equal labels belong together.

    The training state carries the momentum model, which has no trimmers, and the queue of its features. Recall is
    measured over the whole split by the similarity of features; every candidate of an equal label counts as right.
    """

    metrics = ("recall",)

    def __init__(self, config: ExperimentConfig, language: Language):
        super().__init__(config, language)
        self._plain = Functional(dataclasses.replace(config.model, trimming=None))

    def initial(self, params: Params) -> TaskState:
        """Creates the momentum model and an empty queue; see `Task.initial`.

        Args:
            params: The model's initial parameters, which the momentum model starts from.

        Returns:
            Entries `momentum` (parameters without trimmers) and `queue` (of `retrieval.queue_size` features).
        """
        key = jax.random.fold_in(self.config.random_key, 1)
        return {
            # Copies: every step donates the buffers of its state, and no buffer can be donated twice.
            "momentum": jax.tree.map(jnp.copy, _without_trimmers(params)),
            "queue": empty_queue(key, self.config.retrieval.queue_size, self.feature_width(params)),
        }

    def begin(self, state: TaskState, batch: Batch) -> tuple[Momentum, TaskState]:
        """Updates the momentum model, computes its features of the batch and appends them to the queue.

        Args:
            state: Whole training state, with `params`, `step`, `momentum` and `queue`.
            batch: Batch of the data pipeline.

        Returns:
            The momentum model's features of this batch with the queue before it, and the next entries `momentum` and
            `queue`. `alpha` rises linearly over the first `retrieval.alpha_fraction` of all steps.
        """
        wanted, params = self.config.retrieval, _without_trimmers(state["params"])
        momentum = momentum_update(state["momentum"], params, wanted.momentum)
        module: BlipRetrieval = self._plain.bind(momentum)
        images = module.encode_images(self._images(batch)).features
        texts = module.encode_texts(*self._texts_alone(batch)).features
        rise = jnp.maximum(wanted.alpha_fraction * self.config.schedule.total_steps, 1.0)
        alpha = wanted.alpha * jnp.minimum(state["step"] / rise, 1.0)
        queue = enqueue(state["queue"], images, texts, batch["label"])
        return Momentum(images, texts, state["queue"], alpha), {"momentum": momentum, "queue": queue}

    def bounded(self, params: Params) -> Params:
        """Keeps the learned temperature within its bounds; see `objectives.retrieval.bounded_temperature`.

        Args:
            params: The model's updated parameters.

        Returns:
            The parameters with the temperature clipped.
        """
        return params | {"temperature": bounded_temperature(params["temperature"])}

    def begin_pass(self, params: Params, batch: Batch, *, key: jax.Array | None = None) -> tuple[Prefix, Prefix]:
        """Computes the layers that never trim, for images and texts apart; see `Task.begin_pass`.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline.
            key: Random key of the full pass; None for a deterministic pass.

        Returns:
            The state of the image encoder and that of the text encoder (texts read without an image).
        """
        module, keys = self._bind(params), split_key(key, 4)
        images = module.image_prefix(self._images(batch), key=keys[0])
        return images, module.text_prefix(*self._texts_alone(batch), key=keys[1])

    def run(
        self,
        params: Params,
        batch: Batch,
        begun: tuple[Prefix, Prefix],
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
        full: PairsPass | None = None,
    ) -> PairsPass:
        """Encodes images and texts, selects hard negatives and scores the pairs; see `Task.run`.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline.
            begun: Result of `begin_pass`.
            trim: How the trimmers decide; None runs at full capacity.
            key: Random key of this pass (dropout, sampled gates, negatives); None for a deterministic pass.
            full: The pass at full capacity whose negatives are reused; None draws negatives.

        Returns:
            Features, matching logits, negatives and record of the pass.
        """
        module, keys, temperature = self._bind(params), split_key(key, 4), params["temperature"]
        ids, mask = batch["text_ids"], batch["text_mask"]
        image = module.finish_images(begun[0], trim=trim, key=keys[0])
        text = module.finish_texts(begun[1], trim=trim, key=keys[1])
        if full is None:
            draw = jax.random.key(0) if keys[2] is None else keys[2]
            negatives = hard_negatives(draw, image.features, text.features, batch["label"], temperature)
        else:
            negatives = full.negatives
        own = jnp.arange(len(ids))
        of_images = jnp.concatenate([own, negatives[0], own])
        of_texts = jnp.concatenate([own, own, negatives[1]])
        pairs = module.match(image.tokens.take(of_images), ids[of_texts], mask[of_texts], trim=trim, key=keys[3])
        matches = pairs.logits["itm"].reshape(3, len(ids), 2)
        record = pairs.record.of_rows(slice(len(ids))) | image.record | text.record
        return PairsPass(image.features, text.features, matches, negatives, temperature, record)

    def loss(self, output: PairsPass, batch: Batch, given: Momentum) -> Float[Array, ""]:
        """Adds the contrastive loss and the matching loss, as BLIP does; see `Task.loss`.

        Args:
            output: A pass of `run`.
            batch: The batch that the pass is of.
            given: Features of the momentum model for this batch.

        Returns:
            Scalar loss, the weighted mean over the batch.
        """
        contrast = itc_loss(
            output.images,
            output.texts,
            given.images,
            given.texts,
            batch["label"],
            given.queue,
            output.temperature,
            given.alpha,
        )
        return weighted_mean(contrast + itm_loss(*output.matches), batch["weight"])

    def distance(self, full: PairsPass, trimmed: PairsPass, batch: Batch, given: Momentum) -> Float[Array, ""]:
        """Distils similarity rows and matching probabilities of the full pass; see `Task.distance`.

        Args:
            full: The pass at full capacity, the teacher.
            trimmed: The trimmed pass with the same negatives, the student.
            batch: The batch that both passes are of.
            given: Features of the momentum model for this batch, the candidates of the similarity rows.

        Returns:
            Scalar distance, the weighted mean over the batch; the matching part is averaged over the three kinds of
            pairs.
        """
        softness = self.config.objective.temperature
        rows = row_distillation(
            (full.images, full.texts),
            (trimmed.images, trimmed.texts),
            given.images,
            given.texts,
            given.queue,
            full.temperature,
            softness,
        )
        matches = distillation_loss("softmax", full.matches, trimmed.matches, softness)
        return weighted_mean(rows + jnp.mean(matches, axis=0), batch["weight"])

    def accuracy(self, output: PairsPass, batch: Batch) -> Float[Array, ""]:
        """Measures the share of images whose most similar text of the batch belongs to them.

        Args:
            output: A pass of `run`.
            batch: The batch that the pass is of.

        Returns:
            Scalar share in 0..1.
        """
        found = jnp.argmax(output.images @ output.texts.T, axis=1)
        return jnp.mean(batch["label"][found] == batch["label"])

    def judge(self, params: Params, output: Output, batch: Batch, trim: Trim | None) -> tuple[Rows, TrimRecord]:
        """Computes the features that recall compares; see `Task.judge`.

        Args:
            params: The model's parameters.
            output: Output of the model's call; the features of the image are read from its state.
            batch: Batch of the data pipeline.
            trim: How the trimmers decided; None for full capacity.

        Returns:
            Rows `images` and `texts` `[batch, features]` and `label` `[batch]`; the record of the pair and of the
            text encoded without its image.
        """
        module = self._bind(params)
        text = module.encode_texts(*self._texts_alone(batch), trim=trim)
        rows = {
            "images": module.image_features(output.state["image"]),
            "texts": text.features,
            "label": batch["label"],
        }
        return rows, output.record | text.record

    def named_values(self, rows: Rows) -> tuple[NamedValues, NamedValues]:
        """Names the features for the metrics; see `Task.named_values`.

        Args:
            rows: NumPy arrays `images` and `texts` `[examples, features]`, `label` `[examples]` and, if asked for,
                those of `more_rows`.

        Returns:
            Outputs `image_features` and `text_features` and, on demand, `image_tokens` and `image_gates`; target
            `label`.
        """
        outputs = {"image_features": rows["images"], "text_features": rows["texts"]}
        outputs |= {name: rows[name] for name in self.on_demand if name in rows}
        return NamedValues("output", outputs, self.on_demand), NamedValues("target", {"label": rows["label"]})

    def feature_width(self, params: Params) -> int:
        """Returns the number of features by which images and texts are compared.

        Args:
            params: The model's parameters.

        Returns:
            Their number.
        """
        width: int = params["text_projection"]["kernel"].shape[-1]
        return width

    def text_features(
        self, params: Params, ids: Int[Array, "batch tokens"], mask: Int[Array, "batch tokens"], trim: Trim | None
    ) -> Float[Array, "batch features"]:
        """Encodes texts without an image.

        Args:
            params: The model's parameters.
            ids: Token ids, `[batch, tokens]`.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.
            trim: How the trimmers decide; None for full capacity.

        Returns:
            Features of length 1, `[batch, features]`.
        """
        return self._bind(params).encode_texts(self._alone(ids), mask, trim=trim).features

    def choose(self, params: Params, output: Output, trim: Trim | None) -> Choice:
        """Decides whether image and text match; see `ChoosingTask.choose`.

        Args:
            params: Ignored; the output has the logits.
            output: Output whose `logits["itm"]` are `[batch, 2]` (no match, match).
            trim: Ignored; the output has been trimmed already.

        Returns:
            The likelier of the two choices with its probability, and the record of the output.
        """
        probabilities = jax.nn.softmax(output.logits["itm"])
        return Choice(jnp.argmax(probabilities, axis=-1), jnp.max(probabilities, axis=-1), output.record)

    def encoded_images(self, params: Params, batch: Batch, trim: Trim | None) -> Tokens:
        """Encodes the images of a batch on their own; see `Matching.encoded_images`."""
        return self._bind(params).encode_images(self._images(batch), trim=trim).tokens

    def pair_scores(self, output: Output) -> Float[Array, " pairs"]:
        """Reads the logit of "match"; see `Matching.pair_scores`."""
        return output.logits["itm"][:, self.choices.index("match")]

    def _bind(self, params: Params) -> BlipRetrieval:
        module: BlipRetrieval = self.model.bind(params)
        return module

    def _texts_alone(self, batch: Batch) -> tuple[Array, Array]:
        """Token ids and mask of the texts with the start token of the plain text encoder, each `[batch, tokens]`."""
        return self._alone(batch["text_ids"]), batch["text_mask"]

    def _alone(self, ids: Int[Array, "batch tokens"]) -> Int[Array, "batch tokens"]:
        return ids.at[:, 0].set(self.text.own_start_id)


def _without_trimmers(params: Params) -> Params:
    """Parameters of the model without those of its trimmers, which the momentum model does not have."""
    return {name: part for name, part in params.items() if name != "trimmers"}
