"""Rules for the modules that official PyTorch checkpoints are made of."""

from smarttrim_jax.pretrained.weight_table import TRANSPOSED, Rule

Rules = tuple[Rule, ...]


def linear(official: str, ours: str) -> Rules:
    """Torch's Linear, whose weight is `[out, in]`."""
    return (
        Rule(f"{official}.weight", (f"{ours}/kernel",), TRANSPOSED),
        Rule(f"{official}.bias", (f"{ours}/bias",)),
    )


def layer_norm(official: str, ours: str) -> Rules:
    """Torch's LayerNorm."""
    return Rule(f"{official}.weight", (f"{ours}/scale",)), Rule(f"{official}.bias", (f"{ours}/bias",))


def embedding(official: str, ours: str) -> Rule:
    """Torch's Embedding."""
    return Rule(f"{official}.weight", (f"{ours}/embedding",))


def packed_attention(official: str, ours: str, *, packed: str = "in_proj_", out: str = "out_proj") -> Rules:
    """Torch's MultiheadAttention, or timm's: query, key and value stacked in one projection.

    Args:
        official: the module's name.
        ours: its path.
        packed: what comes before "weight" and "bias" of the three projections; timm's is "qkv.".
        out: the name of the output projection; timm's is "proj".
    """
    parts = [f"{ours}/{part}" for part in ("query", "key", "value")]
    return (
        Rule(f"{official}.{packed}weight", tuple(f"{part}/kernel" for part in parts), TRANSPOSED),
        Rule(f"{official}.{packed}bias", tuple(f"{part}/bias" for part in parts)),
        *linear(f"{official}.{out}", f"{ours}/out"),
    )


def bert_projections(official: str, out: str, ours: str) -> Rules:
    """The three projections of Hugging Face's BertSelfAttention, and the output's, which lies elsewhere."""
    return (
        *linear(f"{official}.query", f"{ours}/query"),
        *linear(f"{official}.key", f"{ours}/key"),
        *linear(f"{official}.value", f"{ours}/value"),
        *linear(out, f"{ours}/out"),
    )


def bert_attention(official: str, ours: str) -> Rules:
    """Hugging Face's BertAttention: three projections, then the output with its residual norm."""
    return (
        *bert_projections(f"{official}.self", f"{official}.output.dense", ours),
        *layer_norm(f"{official}.output.LayerNorm", f"{ours}_norm"),
    )


def bert_layer(official: str, ours: str, *, cross_attention: bool) -> Rules:
    """Hugging Face's BertLayer, as our PostNormLayer."""
    cross = bert_attention(f"{official}.crossattention", f"{ours}/cross_attention") if cross_attention else ()
    return (
        *bert_attention(f"{official}.attention", f"{ours}/attention"),
        *cross,
        *linear(f"{official}.intermediate.dense", f"{ours}/mlp/up"),
        *linear(f"{official}.output.dense", f"{ours}/mlp/down"),
        *layer_norm(f"{official}.output.LayerNorm", f"{ours}/mlp_norm"),
    )
