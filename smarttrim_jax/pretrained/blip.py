"""Where BLIP's official checkpoints hold our parameters (salesforce/BLIP, commit 056a169)."""

import dataclasses

from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.blip.config import Task
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

PARTS: dict[Task, tuple[str, ...]] = {
    "vqa": ("visual_encoder", "text_encoder", "text_decoder"),
    "nlvr2": ("visual_encoder", "text_encoder", "cls_head"),
    "caption": ("visual_encoder", "text_decoder"),
    "retrieval": ("visual_encoder", "text_encoder", "vision_proj", "text_proj", "itm_head", "temp"),
}
"""What a task's model is made of, by the first word of the official names."""
LAYERS = "text_encoder.encoder.layer.{layer}"


def blip_table(config: BlipConfig) -> WeightTable:
    """The rules for the checkpoints of the configuration's task."""
    decoder = _embeddings("text_decoder.bert", "decoder")
    decoder += bert_layer("text_decoder.bert.encoder.layer.{layer}", "decoder/layers", cross_attention=True)
    decoder += _language_head("text_decoder.cls.predictions", "decoder")
    fused = bert_layer(LAYERS, "text/layers", cross_attention=True)
    encoder = _embeddings("text_encoder", "text")
    rules = {
        "vqa": encoder + fused + decoder,
        "nlvr2": encoder + _twin_layers(config.first_merge) + _statement_head(),
        "caption": decoder,
        "retrieval": encoder + fused + _comparison(),
    }[config.task]
    has_decoder = "text_decoder" in PARTS[config.task]
    return WeightTable(
        family="BLIP",
        rules=(*_vision("visual_encoder", "image"), *rules),
        leftovers=(r"(text_encoder|text_decoder\.bert)\.embeddings\.position_ids",),
        copies=_tied("text_decoder") if has_decoder else {},
    )


def _vision(official: str, ours: str) -> Rules:
    block, layer = f"{official}.blocks.{{layer}}", f"{ours}/layers"
    return (
        Rule(f"{official}.cls_token", (f"{ours}/class_embedding",), CELL),
        Rule(f"{official}.pos_embed", (f"{ours}/position_embedding",), ROW),
        Rule(f"{official}.patch_embed.proj.weight", (f"{ours}/patch_embedding/kernel",), PATCHES),
        Rule(f"{official}.patch_embed.proj.bias", (f"{ours}/patch_embedding/bias",)),
        *layer_norm(f"{official}.norm", f"{ours}/last_norm"),
        *packed_attention(f"{block}.attn", f"{layer}/attention", packed="qkv.", out="proj"),
        *layer_norm(f"{block}.norm1", f"{layer}/attention_norm"),
        *layer_norm(f"{block}.norm2", f"{layer}/mlp_norm"),
        *linear(f"{block}.mlp.fc1", f"{layer}/mlp/up"),
        *linear(f"{block}.mlp.fc2", f"{layer}/mlp/down"),
    )


def _embeddings(official: str, ours: str) -> Rules:
    return (
        embedding(f"{official}.embeddings.word_embeddings", f"{ours}/word_embedding"),
        embedding(f"{official}.embeddings.position_embeddings", f"{ours}/position_embedding"),
        *layer_norm(f"{official}.embeddings.LayerNorm", f"{ours}/embedding_norm"),
    )


def _language_head(official: str, ours: str) -> Rules:
    return (
        *linear(f"{official}.transform.dense", f"{ours}/dense"),
        *layer_norm(f"{official}.transform.LayerNorm", f"{ours}/norm"),
        Rule(f"{official}.bias", (f"{ours}/bias",)),
    )


def _tied(decoder: str) -> dict[str, str]:
    """The decoder's last linear map is the word table, and a bias that is stored twice."""
    head = f"{decoder}.cls.predictions"
    return {
        f"{head}.decoder.weight": f"{decoder}.bert.embeddings.word_embeddings.weight",
        f"{head}.decoder.bias": f"{head}.bias",
    }


def _twin_layers(first_merge: int) -> Rules:
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
    return (*linear("cls_head.0", "head/dense"), *linear("cls_head.2", "head/out"))


def _comparison() -> Rules:
    return (
        *linear("vision_proj", "image_projection"),
        *linear("text_proj", "text_projection"),
        *linear("itm_head", "match_head"),
        Rule("temp", ("temperature",)),
    )
