"""Initial weights for BLIP's image encoder and text models from pretrained encoders, as in BLIP itself."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.functional import Params
from smarttrim_jax.pretrained.encoders import Source, load_encoder

OWN_WORDS = 2
"""The number of BLIP's own words, [DEC] and [ENC], which are the last rows of its word tables."""
BERT_TYPES = 2


def with_blip_encoders(
    config: BlipConfig, params: Params, *, image: Source | None = None, text: Source | None = None
) -> Params:
    """Fills the encoders of a BLIP from pretrained weights.

    Each text model takes the text encoder's layers. What these lack (cross-attention, merging maps, the language
    head, the words [DEC] and [ENC]) is kept. BERT's first token type, which BLIP does not have, is added to the
    words.

    Args:
        config: Configuration of the BLIP; its `vision` must fit the weights (see `load_encoder`), and its `text` a
            BERT with `OWN_WORDS` additional words.
        params: Parameters of the BLIP, for example fresh from `Functional(config).init`; not changed.
        image: Weights of the image encoder; None keeps the BLIP's own.
        text: Weights of the text encoder; None keeps the BLIP's own.

    Returns:
        The parameters with those of the encoders filled in.

    Raises:
        CheckpointError: The weights do not fill the encoder, or are of the other side.
    """
    filled = dict(params)
    if image is not None:
        filled["image"] = load_encoder(image, like=config.vision)[1]
    if text is not None:
        words = config.text.vocab_size - OWN_WORDS
        bert = dataclasses.replace(config.text, vocab_size=words, token_types=BERT_TYPES)
        _, encoder = load_encoder(text, like=bert)
        for name in ("text", "decoder"):
            if name in params:
                filled[name] = _with_text(params[name], encoder, config.text.depth)
    return filled


def _with_text(own: Params, encoder: Params, depth: int) -> Params:
    """A text model with an encoder's words and layers; its merging layers take the encoder's last ones."""
    words = encoder["word_embedding"]["embedding"] + encoder["type_embedding"]["embedding"][0]
    words = jnp.concatenate([words, own["word_embedding"]["embedding"][-OWN_WORDS:]])
    shared = {name: encoder[name] for name in ("position_embedding", "embedding_norm")}
    filled: dict[str, Any] = own | shared | {"word_embedding": {"embedding": words}}
    first = depth
    for name in ("merge_layers", "layers"):
        if name in own:
            last, first = first, first - jax.tree.leaves(own[name])[0].shape[0]
            filled[name] = own[name] | jax.tree.map(lambda leaf, a=first, b=last: leaf[a:b], encoder["layers"])
    return filled
