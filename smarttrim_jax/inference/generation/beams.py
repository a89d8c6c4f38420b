"""Beam search as Hugging Face's `generate` does it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from smarttrim_jax.inference.generation.config import GenerationConfig
from smarttrim_jax.inference.generation.decoding import Cache, Generated, Step, begin, length_divisors, read_prompt
from smarttrim_jax.inference.generation.logits import constrain


class _Beams(NamedTuple):
    """Texts of every example, the best first; a score of minus infinity means there is none.

    Attributes:
        ids: of the texts.
        scores: log-probabilities; of texts that have ended, divided by the length penalty.
    """

    ids: Int[Array, "batch beams max_length"]
    scores: Float[Array, "batch beams"]

    def best(self, count: int) -> tuple["_Beams", Int[Array, "batch count"]]:
        """The best texts, and where they were."""
        scores, places = jax.lax.top_k(self.scores, count)
        return _Beams(_take(self.ids, places), scores), places


class _Search(NamedTuple):
    """The state of the loop.

    Attributes:
        length: tokens of every running text.
        running: texts that go on.
        ended: the best of those that do not.
        improvable: examples whose running texts may still become better than those that ended.
        cache: the decoder's, of the running texts.
    """

    length: Int[Array, ""]
    running: _Beams
    ended: _Beams
    improvable: Bool[Array, " batch"]
    cache: Any


def beam_search(
    step: Step[Cache], cache: Cache, prompt: Int[Array, "batch prompt"], config: GenerationConfig
) -> Generated:
    """The best text that a search along `config.num_beams` partial texts finds, for every example.

    The ended texts are those of Hugging Face (transformers 5): of the `2 num_beams` best continuations the ones
    among the first `num_beams` that end. The version that BLIP was published with (4.15) divided scores by a length
    that counts the prompt but not the end, and stopped at other moments: its choice is the same at a length penalty
    of 0, or where after a prompt of one token early stopping comes before `max_length`, and may differ elsewhere.

    Args:
        step: the decoder, of `num_beams` rows for every example, one after the other.
        cache: its start, without any position, of one row for every example.
        prompt: what every text begins with; at least one token.
        config: of which sampling is not used.

    Raises:
        ConfigError: a prompt that leaves no room, or an end that the vocabulary does not have.
    """
    batch, start = prompt.shape
    beams, divisors = config.num_beams, length_divisors(config)
    ids = jnp.repeat(begin(prompt, config)[:, None], beams, axis=1)
    nothing = jnp.full((batch, beams), -jnp.inf)

    def is_running(search: _Search) -> Bool[Array, ""]:
        return (search.length < config.max_length) & jnp.any(search.improvable)

    def advance(search: _Search) -> _Search:
        length, running, ended = search.length, search.running, search.ended
        rows = running.ids.reshape(batch * beams, -1)
        logits, cache = step(search.cache, rows[:, length - 1], length - 1)
        log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
        gained = constrain(log_probabilities, rows, length, config).reshape(batch, beams, -1)

        # With twice as many as there are beams, enough go on even if every beam's best continuation is the end.
        all_scores = (running.scores[..., None] + gained).reshape(batch, -1)
        scores, places = jax.lax.top_k(all_scores, 2 * beams)
        parents, tokens = jnp.divmod(places, gained.shape[-1])
        texts = _take(running.ids, parents).at[:, :, length].set(tokens)
        ends = (tokens == config.eos_id) | (length + 1 == config.max_length)

        enters = ends & (jnp.arange(2 * beams) < beams) & search.improvable[:, None]
        new = jnp.where(enters, scores / divisors[length + 1 - start], -jnp.inf)
        ended, _ = _Beams(*(jnp.concatenate(pair, axis=1) for pair in zip(ended, (texts, new), strict=True))).best(
            beams
        )
        running, chosen = _Beams(texts, jnp.where(ends, -jnp.inf, scores)).best(beams)
        origin = jnp.arange(batch)[:, None] * beams + _take(parents, chosen)
        cache = jax.tree.map(lambda leaf: leaf[origin.reshape(-1)], cache)
        improvable = search.improvable & _may_improve(running, ended, length + 1 - start, start, config)
        return _Search(length + 1, running, ended, improvable, cache)

    first = _Search(
        jnp.int32(start),
        _Beams(ids, nothing.at[:, 0].set(0.0)),
        _Beams(ids, nothing),
        jnp.ones(batch, bool),
        jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), read_prompt(step, cache, prompt)),
    )
    ended = jax.lax.while_loop(is_running, advance, first).ended
    return Generated(ended.ids[:, 0], ended.scores[:, 0])


def _may_improve(
    running: _Beams, ended: _Beams, generated: Int[Array, ""], start: int, config: GenerationConfig
) -> Bool[Array, " batch"]:
    """Whether the best running text may still replace the worst of those that ended."""
    worst = ended.scores[:, -1]
    if config.early_stopping is True:
        return worst == -jnp.inf
    if config.early_stopping == "never" and config.length_penalty > 0:
        generated = jnp.int32(config.max_length - start)
    return running.scores[:, 0] / length_divisors(config)[generated] > worst


def _take(beams: Array, places: Int[Array, "batch places"]) -> Array:
    return jnp.take_along_axis(beams, places.reshape(*places.shape, *(1,) * (beams.ndim - 2)), axis=1)
