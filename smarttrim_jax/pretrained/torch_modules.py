"""Rules for the PyTorch modules that official checkpoints consist of."""

from smarttrim_jax.pretrained.weight_table import TRANSPOSED, Rule

Rules = tuple[Rule, ...]


def linear(official: str, ours: str) -> Rules:
    """Rules for torch's Linear, whose weight is `[out, in]`.

    Args:
        official: Name of the module in the checkpoint.
        ours: Path of our module.

    Returns:
        The rules for weight and bias.
    """
    return (
        Rule(f"{official}.weight", (f"{ours}/kernel",), TRANSPOSED),
        Rule(f"{official}.bias", (f"{ours}/bias",)),
    )


def layer_norm(official: str, ours: str) -> Rules:
    """Rules for torch's LayerNorm.

    Args:
        official: Name of the module in the checkpoint.
        ours: Path of our module.

    Returns:
        The rules for weight and bias.
    """
    return Rule(f"{official}.weight", (f"{ours}/scale",)), Rule(f"{official}.bias", (f"{ours}/bias",))


def embedding(official: str, ours: str) -> Rule:
    """The rule for torch's Embedding.

    Args:
        official: Name of the module in the checkpoint.
        ours: Path of our module.

    Returns:
        The rule for the weight.
    """
    return Rule(f"{official}.weight", (f"{ours}/embedding",))


def packed_attention(official: str, ours: str, *, packed: str = "in_proj_", out: str = "out_proj") -> Rules:
    """Rules for MultiheadAttention of torch or timm, which stack query, key and value in one projection.

    Args:
        official: Name of the module in the checkpoint.
        ours: Path of our module.
        packed: Name of the three projections before "weight" and "bias"; timm's is "qkv.".
        out: Name of the output projection; timm's is "proj".

    Returns:
        The rules for all four projections.
    """
    parts = [f"{ours}/{part}" for part in ("query", "key", "value")]
    return (
        Rule(f"{official}.{packed}weight", tuple(f"{part}/kernel" for part in parts), TRANSPOSED),
        Rule(f"{official}.{packed}bias", tuple(f"{part}/bias" for part in parts)),
        *linear(f"{official}.{out}", f"{ours}/out"),
    )


def bert_projections(official: str, out: str, ours: str) -> Rules:
    """Rules for Hugging Face's BertSelfAttention, and for the output projection, which is in another module.

    Args:
        official: Name of the BertSelfAttention in the checkpoint.
        out: Name of the output projection in the checkpoint.
        ours: Path of our attention module.

    Returns:
        The rules for all four projections.
    """
    return (
        *linear(f"{official}.query", f"{ours}/query"),
        *linear(f"{official}.key", f"{ours}/key"),
        *linear(f"{official}.value", f"{ours}/value"),
        *linear(out, f"{ours}/out"),
    )


def bert_attention(official: str, ours: str) -> Rules:
    """Rules for Hugging Face's BertAttention: projections, and the norm after the residual.

    Args:
        official: Name of the module in the checkpoint.
        ours: Path of our attention module; the norm's path is the same with "_norm" appended.

    Returns:
        The rules.
    """
    return (
        *bert_projections(f"{official}.self", f"{official}.output.dense", ours),
        *layer_norm(f"{official}.output.LayerNorm", f"{ours}_norm"),
    )


def bert_layer(official: str, ours: str, *, cross_attention: bool) -> Rules:
    """Rules for Hugging Face's BertLayer, which is our PostNormLayer.

    Args:
        official: Name of the layer in the checkpoint.
        ours: Path of our layer.
        cross_attention: Whether the layer has a cross-attention.

    Returns:
        The rules.
    """
    cross = bert_attention(f"{official}.crossattention", f"{ours}/cross_attention") if cross_attention else ()
    return (
        *bert_attention(f"{official}.attention", f"{ours}/attention"),
        *cross,
        *linear(f"{official}.intermediate.dense", f"{ours}/mlp/up"),
        *linear(f"{official}.output.dense", f"{ours}/mlp/down"),
        *layer_norm(f"{official}.output.LayerNorm", f"{ours}/mlp_norm"),
    )
