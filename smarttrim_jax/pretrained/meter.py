"""Where METER's official checkpoints hold our parameters (zdou0830/METER, commit f4f0934)."""

import dataclasses
from typing import Literal

from smarttrim_jax.pretrained.torch_modules import (
    Rules,
    bert_layer,
    embedding,
    layer_norm,
    linear,
    packed_attention,
)
from smarttrim_jax.pretrained.weight_table import PATCHES, TRANSPOSED, Rule, WeightTable


@dataclasses.dataclass(frozen=True)
class OfficialHead:
    """One task head of the official model.

    Attributes:
        prefix: of its weights' names.
        kind: as in `models.heads.HeadConfig`.
        last: the weight whose rows are the outputs.
    """

    prefix: str
    kind: Literal["classifier", "linear", "mlm"]
    last: str


HEADS = {
    "vqa": OfficialHead("vqa_classifier", "classifier", "vqa_classifier.3.weight"),
    "nlvr2": OfficialHead("nlvr2_classifier", "classifier", "nlvr2_classifier.3.weight"),
    "snli": OfficialHead("snli_classifier", "classifier", "snli_classifier.3.weight"),
    "itm": OfficialHead("itm_score", "linear", "itm_score.fc.weight"),
    "rank": OfficialHead("rank_output", "linear", "rank_output.weight"),
    "mlm": OfficialHead("mlm_score", "mlm", "mlm_score.decoder.weight"),
}


def _vision(official: str, ours: str) -> Rules:
    block, layer = f"{official}.transformer.resblocks.{{layer}}", f"{ours}/layers"
    return (
        Rule(f"{official}.class_embedding", (f"{ours}/class_embedding",)),
        Rule(f"{official}.positional_embedding", (f"{ours}/position_embedding",)),
        Rule(f"{official}.conv1.weight", (f"{ours}/patch_embedding/kernel",), PATCHES),
        *layer_norm(f"{official}.ln_pre", f"{ours}/first_norm"),
        *layer_norm(f"{official}.ln_post", f"{ours}/last_norm"),
        *packed_attention(f"{block}.attn", f"{layer}/attention"),
        *layer_norm(f"{block}.ln_1", f"{layer}/attention_norm"),
        *layer_norm(f"{block}.ln_2", f"{layer}/mlp_norm"),
        *linear(f"{block}.mlp.c_fc", f"{layer}/mlp/up"),
        *linear(f"{block}.mlp.c_proj", f"{layer}/mlp/down"),
    )


def _text(official: str, ours: str) -> Rules:
    return (
        embedding(f"{official}.embeddings.word_embeddings", f"{ours}/word_embedding"),
        embedding(f"{official}.embeddings.position_embeddings", f"{ours}/position_embedding"),
        embedding(f"{official}.embeddings.token_type_embeddings", f"{ours}/type_embedding"),
        *layer_norm(f"{official}.embeddings.LayerNorm", f"{ours}/embedding_norm"),
        *bert_layer(f"{official}.encoder.layer.{{layer}}", f"{ours}/layers", cross_attention=False),
    )


def _fusion_side(side: str) -> Rules:
    layers = f"cross_modal_{side}_layers.{{layer}}"
    return (
        *linear(f"cross_modal_{side}_transform", f"{side}_transform"),
        *bert_layer(layers, f"fusion_{side}", cross_attention=True),
        *linear(f"cross_modal_{side}_pooler.dense", f"{side}_pooler/dense"),
    )


def _head(name: str, head: OfficialHead) -> Rules:
    net = f"head/{name}/net"
    if head.kind == "classifier":
        return (
            *linear(f"{head.prefix}.0", f"{net}/dense"),
            *layer_norm(f"{head.prefix}.1", f"{net}/norm"),
            *linear(f"{head.prefix}.3", f"{net}/out"),
        )
    if head.kind == "linear":
        return linear(head.last.removesuffix(".weight"), net)
    return (
        *linear(f"{head.prefix}.transform.dense", f"{net}/dense"),
        *layer_norm(f"{head.prefix}.transform.LayerNorm", f"{net}/norm"),
        Rule(head.last, (f"{net}/out/kernel",), TRANSPOSED),
        Rule(f"{head.prefix}.bias", (f"{net}/out/bias",)),
    )


METER = WeightTable(
    family="METER",
    rules=(
        *_vision("vit_model.visual", "image"),
        *_text("text_transformer", "text"),
        *_fusion_side("text"),
        *_fusion_side("image"),
        embedding("token_type_embeddings", "type_embedding"),
        *(rule for name, head in HEADS.items() for rule in _head(name, head)),
    ),
    leftovers=(
        r"vit_model\.(positional_embedding|ln_final\.(weight|bias))",
        r"text_transformer\.pooler\.dense\.(weight|bias)",
        r"text_transformer\.embeddings\.position_ids",
    ),
)
