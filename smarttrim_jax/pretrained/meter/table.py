"""The table of the names of our parameters in METER's official checkpoints (zdou0830/METER, commit f4f0934)."""

import dataclasses
from typing import Literal

from smarttrim_jax.pretrained.encoder_tables import bert_text, openai_vision
from smarttrim_jax.pretrained.torch_modules import Rules, bert_layer, embedding, layer_norm, linear
from smarttrim_jax.pretrained.weight_table import TRANSPOSED, Rule, WeightTable


@dataclasses.dataclass(frozen=True)
class OfficialHead:
    """One task head of the official model.

    Attributes:
        prefix: Prefix of its weights' names.
        kind: Kind of the head; see `models.heads.HeadConfig`.
        last: Name of the weight whose rows are the outputs.
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


def _fusion_side(side: str) -> Rules:
    """Rules for one side of the fusion: its projection, layers and pooler."""
    layers = f"cross_modal_{side}_layers.{{layer}}"
    return (
        *linear(f"cross_modal_{side}_transform", f"{side}_transform"),
        *bert_layer(layers, f"fusion_{side}", cross_attention=True),
        *linear(f"cross_modal_{side}_pooler.dense", f"{side}_pooler/dense"),
    )


def _head(name: str, head: OfficialHead) -> Rules:
    """Rules for a task head."""
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
        *openai_vision("vit_model.visual."),
        *bert_text("text_transformer."),
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
