"""BLIP for question answering: an encoder of questions reads the image, a decoder of answers reads the question."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from smarttrim_jax.models.base import Output, example_seeds, run_stages, trimmers_of
from smarttrim_jax.models.blip.config import BlipConfig
from smarttrim_jax.models.blip.model import Blip
from smarttrim_jax.models.blip.text import TextDecoder
from smarttrim_jax.models.segments import Stages, State, begin
from smarttrim_jax.nn.inputs import check_same_examples
from smarttrim_jax.nn.primitives import split_key
from smarttrim_jax.nn.text import TextTransformer
from smarttrim_jax.objectives.language import sequence_loss
from smarttrim_jax.trimming.gates import GateKey, Trim, TrimRecord


class BlipVqa(Blip):
    """Question answering; a call encodes questions, and `decode` or `rank` then score answers.

    A call returns no logits; the states of the questions are `state["text"]` of its output.

    Args:
        config: Sizes, task and trimming.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, config: BlipConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        self.text = TextTransformer(
            config.text,
            source_width=config.vision.width,
            dtype=jnp.dtype(config.dtype),
            kernel=config.kernel,
            rngs=rngs,
        )
        self.decoder = TextDecoder(config, config.text.width, rngs=rngs)

    def embed(self, images: Array, ids: Array, mask: Array, *, key: jax.Array | None = None) -> State:
        """Embeds the image and the question, which begins with [ENC]; see `VisionLanguageModel.embed`."""
        return self._embed_pair(images, "text", self.text, ids, mask, key)

    @property
    def stages(self) -> Stages:
        """The image encoder, then the question encoder, which reads the image in each layer."""
        return [*self.image_stages, self.readers["fusion"].run(self.text.layers, trimmers_of(self), self.config)]

    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Returns the states as they are; see `VisionLanguageModel.read_out`."""
        return Output({}, state, record)

    def decode(
        self,
        encoded: Output,
        ids: Int[Array, "batch answers tokens"],
        mask: Int[Array, "batch answers tokens"],
        *,
        trim: Trim | None = None,
        key: jax.Array | None = None,
    ) -> Output:
        """Scores each word of given answers (teacher forcing).

        Args:
            encoded: Output of a call: the encoded questions.
            ids: Token ids of some answers to each question, `[batch, answers, tokens]`; each answer begins with
                [DEC].
            mask: 1 for tokens, 0 for padding, `[batch, answers, tokens]`.
            trim: How the trimmers decide; None runs at full capacity.
            key: Random key of training; None for evaluation.

        Returns:
            `logits["answer"]`, `[batch, answers, tokens, words]`, of the word after each token; the state with the
            answers as side "target"; the record of both passes.

        Raises:
            ConfigError: The numbers of questions and rows of answers differ, or `trim` is given to a model without
                trimmers.
            DataError: Ids or mask hold values that cannot be used.
        """
        check_same_examples("encoded questions", encoded.state["text"].shape[0], "rows of answers", ids.shape[0])
        batch, answers, tokens = ids.shape
        keys = split_key(key, 2)
        target = self.decoder.embed(ids.reshape(-1, tokens), mask.reshape(-1, tokens), key=keys[0])
        seed = example_seeds(self.config, ids=ids.reshape(-1, tokens), mask=mask.reshape(-1, tokens))
        present = jnp.repeat(encoded.record.present[GateKey("fusion", "text")], answers, axis=0)
        state = {"target": target, "text": encoded.state["text"].repeat(answers)}
        prefix = begin(state, present={"text": present}, seed=seed)
        run = self.readers["decoder"].run(self.decoder.layers, trimmers_of(self), self.config)
        state, record = run_stages(self, [run], prefix, trim, keys[1])
        logits = self.decoder.logits(state["target"].values).reshape(batch, answers, tokens, -1)
        return Output({"answer": logits}, encoded.state | {"target": state["target"]}, encoded.record | record)

    def rank(
        self,
        encoded: Output,
        ids: Int[Array, "answers tokens"],
        mask: Int[Array, "answers tokens"],
        k: int,
        *,
        trim: Trim | None = None,
    ) -> tuple[Int[Array, "batch k"], Float[Array, "batch k"]]:
        """Finds the best answers of a list: the `k` likeliest by first word, ordered by the likelihood of all words.

        Args:
            encoded: Output of a call: the encoded questions.
            ids: Token ids of the answers, `[answers, tokens]`; each begins with [DEC].
            mask: 1 for tokens, 0 for padding, `[answers, tokens]`.
            k: Number of answers whose full likelihood is computed (128 in the official evaluation).
            trim: How the trimmers decide; None runs at full capacity.

        Returns:
            The answers' indices in the list, the best first, `[batch, k]`, and their log-likelihoods with the label
            smoothing of training, `[batch, k]`. Both have fewer columns if the list is shorter than `k`.
        """
        batch = encoded.state["text"].shape[0]
        start = jnp.broadcast_to(ids[:1, :1], (batch, 1, 1))
        words = self.decode(encoded, start, jnp.ones_like(start), trim=trim).logits["answer"][:, 0, 0]
        first_word = jax.nn.softmax(words)[:, ids[:, 1]]
        _, chosen = jax.lax.top_k(first_word, min(k, len(ids)))
        logits = self.decode(encoded, ids[chosen], mask[chosen], trim=trim).logits["answer"]
        likelihood, order = jax.lax.top_k(-sequence_loss(logits, ids[chosen], mask[chosen]), chosen.shape[1])
        return jnp.take_along_axis(chosen, order, axis=1), likelihood
