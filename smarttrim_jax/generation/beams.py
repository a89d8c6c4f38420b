"""Beam search as in Hugging Face's `generate`, in its present form and in that of BLIP's publication."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from smarttrim_jax.generation.config import GenerationConfig
from smarttrim_jax.generation.decoding import Cache, Generated, Step, begin, length_divisors, read_prompt
from smarttrim_jax.generation.logits import constrain


class _Beams(NamedTuple):
    """Texts of each example, the best first; a score of minus infinity marks an entry without a text.

    Attributes:
        ids: Token ids of the texts.
        scores: Log-probabilities; those of ended texts are divided by the length penalty.
    """

    ids: Int[Array, "batch beams max_length"]
    scores: Float[Array, "batch beams"]

    def best(self, count: int) -> tuple["_Beams", Int[Array, "batch count"]]:
        """Selects the best texts of each example.

        Args:
            count: Number of texts to select.

        Returns:
            The texts, the best first, and their indices among these.
        """
        scores, places = jax.lax.top_k(self.scores, count)
        return _Beams(_take(self.ids, places), scores), places

    def joined_by(self, others: "_Beams", enters: Bool[Array, "batch others"]) -> "_Beams":
        """Adds other texts, and keeps as many as before, the best ones.

        Args:
            others: Texts of the same examples.
            enters: Which of the others compete.

        Returns:
            The best of these texts and of the others that compete.
        """
        scores = jnp.where(enters, others.scores, -jnp.inf)
        pairs = (self.ids, others.ids), (self.scores, scores)
        return _Beams(*(jnp.concatenate(pair, axis=1) for pair in pairs)).best(self.scores.shape[1])[0]


class _Search(NamedTuple):
    """The state of the loop.

    Attributes:
        length: Number of tokens of each running text.
        running: Texts that are continued.
        ended: The best ended texts.
        improvable: Whether an example's running texts may still become better than its ended ones.
        cache: The decoder's cache of the running texts.
    """

    length: Int[Array, ""]
    running: _Beams
    ended: _Beams
    improvable: Bool[Array, " batch"]
    cache: Any


def beam_search(
    step: Step[Cache], cache: Cache, prompt: Int[Array, "batch prompt"], config: GenerationConfig
) -> Generated:
    """Finds a likely text for each example by following `config.num_beams` partial texts.

    Of the `2 num_beams` best continuations, those among the first `num_beams` that end are kept as ended texts. Their
    scores and the moment to stop follow transformers 5, or transformers 4.15 where `config.classic` is True. In the
    latter, lengths count the prompt but not the end token, texts that are cut off at `max_length` compete only if the
    search has not stopped, and the attainable score is judged by the best continuation, whether it ends or not.
    Without length penalty both return the same texts.

    Args:
        step: Computes one position of the decoder, for `num_beams` consecutive rows per example.
        cache: The decoder's cache without any position, with one row per example.
        prompt: Token ids that each text begins with, `[batch, prompt]`; at least one token.
        config: Settings of the generation; those of sampling are not used.

    Returns:
        The best text of each example and its score.

    Raises:
        ConfigError: The prompt leaves no room for a token, or `eos_id` is not in the vocabulary.
    """
    batch, start = prompt.shape
    beams, divisors = config.num_beams, length_divisors(config)
    ids = jnp.repeat(begin(prompt, config)[:, None], beams, axis=1)
    nothing = jnp.full((batch, beams), -jnp.inf, jnp.float32)

    def is_running(search: _Search) -> Bool[Array, ""]:
        return (search.length < config.max_length) & jnp.any(search.improvable)

    def advance(search: _Search) -> _Search:
        length, running, ended = search.length, search.running, search.ended
        rows = running.ids.reshape(batch * beams, -1)
        logits, cache = step(search.cache, rows[:, length - 1], length - 1)
        log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
        gained = constrain(log_probabilities, rows, length, config).reshape(batch, beams, -1)

        # Twice the number of beams, so that enough continue even if each beam's best continuation is the end token.
        all_scores = (running.scores[..., None] + gained).reshape(batch, -1)
        scores, places = jax.lax.top_k(all_scores, 2 * beams)
        parents, tokens = jnp.divmod(places, gained.shape[-1])
        texts = _take(running.ids, parents).at[:, :, length].set(tokens)
        ends = tokens == config.eos_id
        if not config.classic:
            ends |= length + 1 == config.max_length

        counted = length if config.classic else length + 1 - start
        enters = ends & (jnp.arange(2 * beams) < beams) & search.improvable[:, None]
        ended = ended.joined_by(_Beams(texts, scores / divisors[counted]), enters)
        running, chosen = _Beams(texts, jnp.where(ends, -jnp.inf, scores)).best(beams)
        origin = jnp.arange(batch)[:, None] * beams + _take(parents, chosen)
        cache = jax.tree.map(lambda leaf: leaf[origin.reshape(-1)], cache)
        best = scores[:, 0] if config.classic else running.scores[:, 0]
        improvable = search.improvable & _may_improve(best, ended, counted, start, config)
        return _Search(length + 1, running, ended, improvable, cache)

    first = _Search(
        jnp.int32(start),
        _Beams(ids, nothing.at[:, 0].set(0.0)),
        _Beams(ids, nothing),
        jnp.ones(batch, bool),
        jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), read_prompt(step, cache, prompt)),
    )
    last = jax.lax.while_loop(is_running, advance, first)
    ended = last.ended
    if config.classic:
        cut_off = last.running._replace(scores=last.running.scores / divisors[config.max_length])
        ended = ended.joined_by(cut_off, last.improvable[:, None])
    return Generated(ended.ids[:, 0], ended.scores[:, 0])


def _may_improve(
    best: Float[Array, " batch"], ended: _Beams, length: Int[Array, ""], start: int, config: GenerationConfig
) -> Bool[Array, " batch"]:
    """Whether a text with log-probability `best` may still replace the worst ended text."""
    worst = ended.scores[:, -1]
    if config.early_stopping is True:
        return worst == -jnp.inf
    if config.early_stopping == "never" and config.length_penalty > 0:
        length = jnp.int32(config.max_length - start)
    return best / length_divisors(config)[length] > worst


def _take(beams: Array, places: Int[Array, "batch places"]) -> Array:
    """Selects beams by index: `[batch, beams, ...]` to `[batch, places, ...]`."""
    return jnp.take_along_axis(beams, places.reshape(*places.shape, *(1,) * (beams.ndim - 2)), axis=1)
