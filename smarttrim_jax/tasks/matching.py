"""What the tasks share that tell which images and texts belong together."""

import abc

from jaxtyping import Array, Float, Int

from smarttrim_jax.data.language import Language
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Params
from smarttrim_jax.models.pairs import PairReader
from smarttrim_jax.tasks.base import Batch, ChoosingTask, Rows, model_inputs
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.tokens.padded import Padded
from smarttrim_jax.trimming.gates import Trim


class Matching(ChoosingTask):
    """Base of tasks whose model reads texts beside images that are encoded once (a `PairReader`).

    Attributes:
        text: Tokenizer of the texts.
    """

    choices = ("no match", "match")
    on_demand = ("image_tokens", "image_gates")

    def __init__(self, config: ExperimentConfig, language: Language):
        super().__init__(config, language)
        self.text = language.text

    @abc.abstractmethod
    def encoded_images(self, params: Params, batch: Batch, trim: Trim | None) -> Tokens:
        """Encodes the images of a batch on their own.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline; only `image` is read.
            trim: How the trimmers decide; None for full capacity.

        Returns:
            The image tokens that texts are read beside.
        """

    @abc.abstractmethod
    def pair_scores(self, output: Output) -> Float[Array, " pairs"]:
        """Reads from an output how well image and text of each pair fit.

        Args:
            output: Output of the model for pairs.

        Returns:
            Scores, `[pairs]`; the higher, the better.
        """

    def more_rows(self, params: Params, batch: Batch, trim: Trim | None) -> Rows:
        """Encodes images on their own, for judging them beside other texts; see `Task.more_rows`.

        Args:
            params: The model's parameters.
            batch: Batch of the data pipeline; only `image` is read.
            trim: How the trimmers decide; None for full capacity.

        Returns:
            Rows `image_tokens` `[batch, tokens, width]` and `image_gates` `[batch, tokens]`, 0 for closed tokens.
        """
        images = self.encoded_images(params, batch, trim)
        return {"image_tokens": images.pad(images.values), "image_gates": images.padded_gate}

    def match_logits(
        self,
        params: Params,
        images: tuple[Float[Array, "images patches width"], Float[Array, "images patches"]],
        of_images: Int[Array, " batch"],
        ids: Int[Array, "batch tokens"],
        mask: Int[Array, "batch tokens"],
        trim: Trim | None,
    ) -> Float[Array, " batch"]:
        """Judges pairs of an encoded image and a text.

        Args:
            params: The model's parameters.
            images: Tokens `[images, patches, width]` and gates `[images, patches]`; see `more_rows`.
            of_images: Number of each pair's image, `[batch]`.
            ids: Token ids of each pair's text, `[batch, tokens]`.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.
            trim: How the trimmers decide; None for full capacity.

        Returns:
            How well they fit, `[batch]`; see `pair_scores`.
        """
        module: PairReader = self.model.bind(params)
        return self.pair_scores(module.match(Padded(*images).take(of_images), ids, mask, trim=trim))

    def right_answer(self, example: Batch) -> str:
        """Returns "match", since every example of the data is a right pair; see `Task.right_answer`.

        Args:
            example: Ignored.

        Returns:
            The second of the choices, "match".
        """
        return self.choices[1]

    def _images(self, batch: Batch) -> Array:
        images, *_ = model_inputs(self.config, batch)
        return images
