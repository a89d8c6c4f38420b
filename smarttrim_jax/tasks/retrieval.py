"""Images and texts that belong together: BLIP's retrieval."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.data.images import normalize
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
from smarttrim_jax.tasks.base import Batch, Choice, ChoosingTask, Rows, TaskState
from smarttrim_jax.trimming.gates import GateKey, GatesByKey, Trim, TrimRecord

CHOICES = ("no match", "match")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairsPass:
    """What a training pass gives.

    Attributes:
        images: features, of length 1.
        texts: features, of length 1.
        matches: logits (no match, match) of the right pairs, every text with a wrong image, every image with a wrong
            text.
        negatives: the rows of the wrong images and of the wrong texts.
        temperature: of the similarities.
        record: of the right pairs alone: what finding a pair costs.
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
    """What the momentum model says about a batch.

    Attributes:
        images: features, of length 1.
        texts: features, of length 1.
        queue: features of earlier batches.
        alpha: its share of the targets.
    """

    images: Float[Array, "batch features"]
    texts: Float[Array, "batch features"]
    queue: Queue
    alpha: Float[Array, ""]


class Pairs(ChoosingTask):
    """Contrast between images and texts, and matching of pairs with hard negatives; labels say what belongs together.

    The training state carries the momentum model, which has no trimmers, and the queue. Recall is over the whole
    split by the features' similarity; equal labels are right.
    """

    metrics = ("recall",)
    choices = CHOICES

    def __init__(self, config: ExperimentConfig, language: Language):
        super().__init__(config, language)
        self._plain = Functional(dataclasses.replace(config.model, trimming=None))
        self._start_alone = language.text.own_start_id

    def initial(self, params: Params) -> TaskState:
        """What the training state carries for the task; see `Task.initial`."""
        key = jax.random.fold_in(jax.random.key(self.config.seed), 1)
        width = params["text_projection"]["kernel"].shape[-1]
        return {
            # Copies: parameters and state are given away at every step, each once.
            "momentum": jax.tree.map(jnp.copy, _without_trimmers(params)),
            "queue": empty_queue(key, self.config.retrieval.queue_size, width),
        }

    def begin(self, state: TaskState, batch: Batch) -> tuple[Momentum, TaskState]:
        """The momentum model a step further, its features of the batch, and the queue with them."""
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
        """The parameters with the temperature within its bounds."""
        return params | {"temperature": bounded_temperature(params["temperature"])}

    def begin_pass(self, params: Params, batch: Batch, *, key: jax.Array | None = None) -> tuple[Prefix, Prefix]:
        """The images' part and the texts'."""
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
        """One pass over a batch; see `Task.run`."""
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
        record = _first_rows(pairs.record, len(ids)) | image.record | text.record
        return PairsPass(image.features, text.features, matches, negatives, temperature, record)

    def loss(self, output: PairsPass, batch: Batch, given: Momentum) -> Float[Array, ""]:
        """The task's loss of a pass; see `Task.loss`."""
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
        """How far the trimmed pass is from the full one; see `Task.distance`."""
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
        """The share of images whose likeliest text of the batch belongs to them."""
        found = jnp.argmax(output.images @ output.texts.T, axis=1)
        return jnp.mean(batch["label"][found] == batch["label"])

    def judge(self, params: Params, output: Output, batch: Batch, trim: Trim | None) -> tuple[Rows, TrimRecord]:
        """What the metrics need of every example; see `Task.judge`."""
        module = self._bind(params)
        text = module.encode_texts(*self._texts_alone(batch), trim=trim)
        rows = {
            "images": module.image_features(output.state["image"]),
            "texts": text.features,
            "label": batch["label"],
        }
        return rows, output.record | text.record

    def named_values(self, rows: Rows) -> tuple[NamedValues, NamedValues]:
        """Outputs `image_features` and `text_features`; target `label`."""
        outputs = {"image_features": rows["images"], "text_features": rows["texts"]}
        return NamedValues("output", outputs, self.on_demand), NamedValues("target", {"label": rows["label"]})

    def choose(self, params: Params, output: Output, trim: Trim | None) -> Choice:
        """Whether image and text match."""
        probabilities = jax.nn.softmax(output.logits["itm"])
        return Choice(jnp.argmax(probabilities, axis=-1), jnp.max(probabilities, axis=-1), output.record)

    def right_answer(self, example: Batch) -> str:
        """What should be answered to an example; see `Task.right_answer`."""
        return CHOICES[1]

    def _bind(self, params: Params) -> BlipRetrieval:
        return self.model.bind(params)

    def _images(self, batch: Batch) -> Array:
        return normalize(batch["image"], self.config.pixels)

    def _texts_alone(self, batch: Batch) -> tuple[Array, Array]:
        """Ids and mask of the texts as they begin where no image is read."""
        return batch["text_ids"].at[:, 0].set(self._start_alone), batch["text_mask"]


def _without_trimmers(params: Params) -> Params:
    return {name: part for name, part in params.items() if name != "trimmers"}


def _first_rows(record: TrimRecord, rows: int) -> TrimRecord:
    gates: GatesByKey = jax.tree.map(lambda gate: gate[:, :rows], record.gates)
    present: dict[GateKey, Any] = jax.tree.map(lambda there: there[:rows], record.present)
    return TrimRecord(gates, present)
