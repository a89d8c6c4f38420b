"""Tables of the names of our parameters in the encoders' original files: OpenAI's and Hugging Face's.

Hugging Face's names are those in its files, which transformers 4 and 5 write alike; newer modules have other names
inside.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal

from smarttrim_jax.pretrained.torch_modules import (
    Rules,
    bert_layer,
    embedding,
    layer_norm,
    linear,
    packed_attention,
)
from smarttrim_jax.pretrained.weight_table import PATCHES, Rule, WeightTable, batched


def openai_vision(official: str) -> Rules:
    """Rules for OpenAI's VisionTransformer (CLIP's model.py).

    Args:
        official: Prefix of its names.

    Returns:
        The rules; our paths begin with "image/".
    """
    block, layer = f"{official}transformer.resblocks.{{layer}}", "image/layers"
    return (
        Rule(f"{official}class_embedding", ("image/class_embedding",)),
        Rule(f"{official}positional_embedding", ("image/position_embedding",)),
        Rule(f"{official}conv1.weight", ("image/patch_embedding/kernel",), PATCHES),
        *layer_norm(f"{official}ln_pre", "image/first_norm"),
        *layer_norm(f"{official}ln_post", "image/last_norm"),
        *packed_attention(f"{block}.attn", f"{layer}/attention"),
        *layer_norm(f"{block}.ln_1", f"{layer}/attention_norm"),
        *layer_norm(f"{block}.ln_2", f"{layer}/mlp_norm"),
        *linear(f"{block}.mlp.c_fc", f"{layer}/mlp/up"),
        *linear(f"{block}.mlp.c_proj", f"{layer}/mlp/down"),
    )


def bert_text(official: str) -> Rules:
    """Rules for Hugging Face's BertModel and RobertaModel.

    Args:
        official: Prefix of their names.

    Returns:
        The rules; our paths begin with "text/".
    """
    return (
        embedding(f"{official}embeddings.word_embeddings", "text/word_embedding"),
        embedding(f"{official}embeddings.position_embeddings", "text/position_embedding"),
        embedding(f"{official}embeddings.token_type_embeddings", "text/type_embedding"),
        *layer_norm(f"{official}embeddings.LayerNorm", "text/embedding_norm"),
        *bert_layer(f"{official}encoder.layer.{{layer}}", "text/layers", cross_attention=False),
    )


def _clip_vision() -> Rules:
    """Rules for Hugging Face's CLIPVisionModel."""
    block, layer = "encoder.layers.{layer}", "image/layers"
    return (
        Rule("embeddings.class_embedding", ("image/class_embedding",)),
        Rule("embeddings.position_embedding.weight", ("image/position_embedding",)),
        Rule("embeddings.patch_embedding.weight", ("image/patch_embedding/kernel",), PATCHES),
        *layer_norm("pre_layrnorm", "image/first_norm"),  # misspelled so in all files
        *layer_norm("post_layernorm", "image/last_norm"),
        *linear(f"{block}.self_attn.q_proj", f"{layer}/attention/query"),
        *linear(f"{block}.self_attn.k_proj", f"{layer}/attention/key"),
        *linear(f"{block}.self_attn.v_proj", f"{layer}/attention/value"),
        *linear(f"{block}.self_attn.out_proj", f"{layer}/attention/out"),
        *layer_norm(f"{block}.layer_norm1", f"{layer}/attention_norm"),
        *layer_norm(f"{block}.layer_norm2", f"{layer}/mlp_norm"),
        *linear(f"{block}.mlp.fc1", f"{layer}/mlp/up"),
        *linear(f"{block}.mlp.fc2", f"{layer}/mlp/down"),
    )


def _dinov2_vision() -> Rules:
    """Rules for Hugging Face's Dinov2Model."""
    block, layer = "encoder.layer.{layer}", "image/layers"
    return (
        Rule("embeddings.cls_token", ("image/class_embedding",), batched(2)),
        Rule("embeddings.position_embeddings", ("image/position_embedding",), batched(1)),
        Rule("embeddings.patch_embeddings.projection.weight", ("image/patch_embedding/kernel",), PATCHES),
        Rule("embeddings.patch_embeddings.projection.bias", ("image/patch_embedding/bias",)),
        *layer_norm("layernorm", "image/last_norm"),
        *linear(f"{block}.attention.attention.query", f"{layer}/attention/query"),
        *linear(f"{block}.attention.attention.key", f"{layer}/attention/key"),
        *linear(f"{block}.attention.attention.value", f"{layer}/attention/value"),
        *linear(f"{block}.attention.output.dense", f"{layer}/attention/out"),
        *layer_norm(f"{block}.norm1", f"{layer}/attention_norm"),
        *layer_norm(f"{block}.norm2", f"{layer}/mlp_norm"),
        *linear(f"{block}.mlp.fc1", f"{layer}/mlp/up"),
        *linear(f"{block}.mlp.fc2", f"{layer}/mlp/down"),
        Rule(f"{block}.layer_scale1.lambda1", (f"{layer}/attention_scale",)),
        Rule(f"{block}.layer_scale2.lambda1", (f"{layer}/mlp_scale",)),
    )


@dataclasses.dataclass(frozen=True)
class Family:
    """One kind of encoder file.

    Attributes:
        side: The side of a METER that the encoder becomes.
        table: The rules for its names, without a prefix.
        landmark: A name by which the family is recognised.
        layers: Prefix of the names of its layers.
        up: Name of the first MLP kernel inside a layer, `[hidden, width]`.
        traits: Fields of the configuration that all members of the family share.
        prefixes: Prefixes that larger models put before the names.
        beside: Pattern of names that larger models hold beside the encoder.
        model_types: Values of `model_type` in config.json.
        renamed: Pairs of a pattern of other names for the same weights, and its replacement by the table's names.
    """

    side: Literal["image", "text"]
    table: WeightTable
    landmark: str
    layers: str
    up: str
    traits: Mapping[str, Any]
    prefixes: tuple[str, ...]
    beside: str
    model_types: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...] = ()

    def prefix_in(self, names: Mapping[str, Any]) -> str | None:
        """Finds the prefix that names carry.

        Args:
            names: Tensors by name; only the names are used.

        Returns:
            The prefix, "" for none; None if the names are of another family.
        """
        return next((prefix for prefix in (*self.prefixes, "") if prefix + self.landmark in names), None)

    def own(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Renames tensors to the table's names.

        Args:
            tensors: Tensors by the names in a file.

        Returns:
            Tensors by the table's names. Those known to belong to a larger model are left out; unknown ones keep
            their names.
        """
        prefix, own, others = self.prefix_in(tensors) or "", {}, {}
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                own[self._in_table(name.removeprefix(prefix))] = tensor
            elif not re.fullmatch(self.beside, name):
                others[name] = tensor
        return others | own

    def _in_table(self, name: str) -> str:
        """Replaces other names for the same weight by the table's."""
        for pattern, known in self.renamed:
            name = re.sub(pattern, known, name)
        return name


_CLIP_TRAITS = {
    "activation": "quick_gelu",
    "epsilon": 1e-5,
    "pre_norm": True,
    "patch_bias": False,
    "layer_scale": False,
}
_DINOV2_TRAITS = {
    "activation": "gelu",
    "epsilon": 1e-6,
    "pre_norm": False,
    "patch_bias": True,
    "layer_scale": True,
}
_BERT_LEFTOVERS = (r"pooler\.dense\.(weight|bias)", r"embeddings\.position_ids", r"embeddings\.token_type_ids")


def _bert_family(name: str, model_types: tuple[str, ...], prefix: str, traits: Mapping[str, Any]) -> Family:
    """The family of BERT or RoBERTa."""
    return Family(
        side="text",
        table=WeightTable(name, bert_text(""), _BERT_LEFTOVERS),
        landmark="embeddings.word_embeddings.weight",
        layers="encoder.layer",
        up="intermediate.dense.weight",
        traits=traits,
        prefixes=(prefix,),
        beside=r"(cls|lm_head|classifier|qa_outputs)\..*",
        model_types=model_types,
        renamed=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
    )


FAMILIES = {
    "clip": Family(
        side="image",
        table=WeightTable("CLIP", _clip_vision(), (r"embeddings\.position_ids",)),
        landmark="embeddings.class_embedding",
        layers="encoder.layers",
        up="mlp.fc1.weight",
        traits=_CLIP_TRAITS,
        prefixes=("vision_model.",),
        beside=r"(text_model\..*|(visual|text)_projection\.weight|logit_scale)",
        model_types=("clip", "clip_vision_model"),
    ),
    "openai_clip": Family(
        side="image",
        table=WeightTable("OpenAI CLIP", openai_vision(""), (r"proj",)),
        landmark="class_embedding",
        layers="transformer.resblocks",
        up="mlp.c_fc.weight",
        traits=_CLIP_TRAITS,
        prefixes=("visual.",),
        beside=r"((transformer|token_embedding|ln_final)\..*|(positional_embedding|text_projection|logit_scale)|"
        r"(input_resolution|context_length|vocab_size))",
        model_types=(),
    ),
    "dinov2": Family(
        side="image",
        table=WeightTable("DINOv2", _dinov2_vision(), (r"embeddings\.mask_token",)),
        landmark="encoder.layer.0.layer_scale1.lambda1",
        layers="encoder.layer",
        up="mlp.fc1.weight",
        traits=_DINOV2_TRAITS,
        prefixes=("dinov2.",),
        beside=r"classifier\..*",
        model_types=("dinov2",),
        renamed=(
            (r"\.attention\.q_proj\.", ".attention.attention.query."),
            (r"\.attention\.k_proj\.", ".attention.attention.key."),
            (r"\.attention\.v_proj\.", ".attention.attention.value."),
            (r"\.attention\.o_proj\.", ".attention.output.dense."),
        ),
    ),
    "roberta": _bert_family(
        "RoBERTa",
        ("roberta", "xlm-roberta", "camembert"),
        "roberta.",
        {"position_rule": "roberta", "pad_id": 1, "epsilon": 1e-5},
    ),
    "bert": _bert_family("BERT", ("bert",), "bert.", {"position_rule": "bert", "pad_id": 0, "epsilon": 1e-12}),
}
