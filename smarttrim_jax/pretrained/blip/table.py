"""Tables of the names of our parameters in BLIP's checkpoints.

There are the names of the official code (salesforce/BLIP, commit 056a169) and those of Hugging Face's transformers,
which differ in the image encoder alone.
"""

import dataclasses
from collections.abc import Mapping

from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.blip.config import TaskName
from smarttrim_jax.pretrained.torch_modules import (
    Rules,
    bert_layer,
    bert_projections,
    embedding,
    layer_norm,
    linear,
    packed_attention,
)
from smarttrim_jax.pretrained.weight_table import CELL, PATCHES, ROW, Rule, WeightTable


@dataclasses.dataclass(frozen=True)
class Naming:
    """How a family of checkpoints names the image encoder, and which parts its models have.

    Attributes:
        family: Name of the family in errors.
        vision: Name of the image encoder; the names below are relative to it.
        class_token: Name of the global token.
        positions: Name of the position table.
        patches: Name of the patch embedding.
        last_norm: Name of the norm after the last layer.
        block: Name of a layer.
        attention: Name of the attention in a layer.
        out: Name of the output projection in the attention.
        norms: Names of the norms before the attention and before the MLP.
        parts: The parts of each task's model, by the first word of their names.
        nameless: Paths of our parameters that its models do not have.
    """

    family: str
    vision: str
    class_token: str
    positions: str
    patches: str
    last_norm: str
    block: str
    attention: str
    out: str
    norms: tuple[str, str]
    parts: Mapping[TaskName, tuple[str, ...]]
    nameless: tuple[str, ...] = ()

    def of_vision(self, name: str) -> str:
        """Returns the full name of a part of the image encoder.

        Args:
            name: Name relative to the image encoder.

        Returns:
            The full name.
        """
        return f"{self.vision}.{name}"


OFFICIAL = Naming(
    family="BLIP",
    vision="visual_encoder",
    class_token="cls_token",
    positions="pos_embed",
    patches="patch_embed.proj",
    last_norm="norm",
    block="blocks.{layer}",
    attention="attn",
    out="proj",
    norms=("norm1", "norm2"),
    parts={
        "vqa": ("visual_encoder", "text_encoder", "text_decoder"),
        "nlvr2": ("visual_encoder", "text_encoder", "cls_head"),
        "caption": ("visual_encoder", "text_decoder"),
        "retrieval": ("visual_encoder", "text_encoder", "vision_proj", "text_proj", "itm_head", "temp"),
    },
)
HUGGING_FACE = Naming(
    family="Hugging Face BLIP",
    vision="vision_model",
    class_token="embeddings.class_embedding",
    positions="embeddings.position_embedding",
    patches="embeddings.patch_embedding",
    last_norm="post_layernorm",
    block="encoder.layers.{layer}",
    attention="self_attn",
    out="projection",
    norms=("layer_norm1", "layer_norm2"),
    parts={
        "vqa": ("vision_model", "text_encoder", "text_decoder"),
        "caption": ("vision_model", "text_decoder"),
        "retrieval": ("vision_model", "text_encoder", "vision_proj", "text_proj", "itm_head"),
    },
    nameless=("temperature",),
)
LAYERS = "text_encoder.encoder.layer.{layer}"
PREDICTIONS = "text_decoder.cls.predictions"
TIED = {
    f"{PREDICTIONS}.decoder.weight": "text_decoder.bert.embeddings.word_embeddings.weight",
    f"{PREDICTIONS}.decoder.bias": f"{PREDICTIONS}.bias",
}
"""Tied weights: the decoder's last linear map is the word table, and its bias is stored twice."""


def blip_table(config: BlipConfig, naming: Naming = OFFICIAL) -> WeightTable:
    """Makes the rules for a family's checkpoints of the configuration's task.

    Args:
        config: Configuration of the model; its task and `first_merge` matter.
        naming: The family of names.

    Returns:
        The table.
    """
    decoder = _embeddings("text_decoder.bert", "decoder")
    decoder += bert_layer("text_decoder.bert.encoder.layer.{layer}", "decoder/layers", cross_attention=True)
    decoder += _language_head(PREDICTIONS, "decoder")
    fused = bert_layer(LAYERS, "text/layers", cross_attention=True)
    encoder = _embeddings("text_encoder", "text")
    parts = naming.parts[config.task]
    rules = {
        "vqa": encoder + fused + decoder,
        "nlvr2": encoder + _twin_layers(config.first_merge) + _statement_head(),
        "caption": decoder,
        "retrieval": encoder + fused + _comparison("temp" in parts),
    }[config.task]
    return WeightTable(
        family=naming.family,
        rules=(*_vision(naming, "image"), *rules),
        leftovers=(r"(text_encoder|text_decoder\.bert)\.embeddings\.position_ids",),
        copies=TIED if "text_decoder" in parts else {},
    )


def _vision(naming: Naming, ours: str) -> Rules:
    """Rules for the image encoder."""
    block, layer = naming.of_vision(naming.block), f"{ours}/layers"
    patches = naming.of_vision(naming.patches)
    return (
        Rule(naming.of_vision(naming.class_token), (f"{ours}/class_embedding",), CELL),
        Rule(naming.of_vision(naming.positions), (f"{ours}/position_embedding",), ROW),
        Rule(f"{patches}.weight", (f"{ours}/patch_embedding/kernel",), PATCHES),
        Rule(f"{patches}.bias", (f"{ours}/patch_embedding/bias",)),
        *layer_norm(naming.of_vision(naming.last_norm), f"{ours}/last_norm"),
        *packed_attention(f"{block}.{naming.attention}", f"{layer}/attention", packed="qkv.", out=naming.out),
        *layer_norm(f"{block}.{naming.norms[0]}", f"{layer}/attention_norm"),
        *layer_norm(f"{block}.{naming.norms[1]}", f"{layer}/mlp_norm"),
        *linear(f"{block}.mlp.fc1", f"{layer}/mlp/up"),
        *linear(f"{block}.mlp.fc2", f"{layer}/mlp/down"),
    )


def _embeddings(official: str, ours: str) -> Rules:
    """Rules for the embeddings of a text model."""
    return (
        embedding(f"{official}.embeddings.word_embeddings", f"{ours}/word_embedding"),
        embedding(f"{official}.embeddings.position_embeddings", f"{ours}/position_embedding"),
        *layer_norm(f"{official}.embeddings.LayerNorm", f"{ours}/embedding_norm"),
    )


def _language_head(official: str, ours: str) -> Rules:
    """Rules for the decoder's language head."""
    return (
        *linear(f"{official}.transform.dense", f"{ours}/dense"),
        *layer_norm(f"{official}.transform.LayerNorm", f"{ours}/norm"),
        Rule(f"{official}.bias", (f"{ours}/bias",)),
    )


def _twin_layers(first_merge: int) -> Rules:
    """Rules for NLVR2's layers, which read two images."""
    cross = f"{LAYERS}.crossattention"

    def layers(ours: str) -> Rules:
        return (
            *bert_layer(LAYERS, ours, cross_attention=False),
            *bert_projections(f"{cross}.self0", f"{cross}.output.dense0", f"{ours}/cross_attention"),
            *bert_projections(f"{cross}.self1", f"{cross}.output.dense1", f"{ours}/twin_attention"),
            *layer_norm(f"{cross}.output.LayerNorm", f"{ours}/cross_attention_norm"),
        )

    merging = (
        *layers("text/merge_layers"),
        *linear(f"{cross}.output.merge_layer", "text/merge_layers/merge"),
    )
    return (*layers("text/layers"), *(dataclasses.replace(rule, first=first_merge) for rule in merging))


def _statement_head() -> Rules:
    """Rules for NLVR2's head."""
    return (*linear("cls_head.0", "head/dense"), *linear("cls_head.2", "head/out"))


def _comparison(has_temperature: bool) -> Rules:
    """Rules for retrieval's projections, match head and temperature."""
    return (
        *linear("vision_proj", "image_projection"),
        *linear("text_proj", "text_projection"),
        *linear("itm_head", "match_head"),
        *((Rule("temp", ("temperature",)),) if has_temperature else ()),
    )
