"""Parameter counts that follow from a layer's sizes, and checks of sizes."""

import decimal

from smarttrim_jax.errors import ConfigError

MOST_PARAMETERS = 10**12
"""The largest accepted parameter count. AdamW keeps 12 bytes for each: 12 TB, which only a mistyped key asks for."""


def layer_parameters(width: int, mlp_width: int, attentions: int = 1) -> int:
    """Counts the parameters in the matrices of a transformer layer, without biases and norms.

    Args:
        width: Width of the tokens.
        mlp_width: Hidden width of the MLP.
        attentions: Number of attention modules; 2 with cross-attention.

    Returns:
        The number of parameters.
    """
    return 4 * attentions * width**2 + 2 * width * mlp_width


def check_heads(heads: int, width: int) -> None:
    """Checks that the heads divide the width evenly.

    Args:
        heads: Number of attention heads.
        width: Width of the tokens.

    Raises:
        ConfigError: `heads` does not divide `width`.
    """
    if width % heads:
        raise ConfigError(f"heads is {heads}; it must divide width, {width}")


def check_parameters(count: int) -> None:
    """Checks that a model's size is plausible.

    Args:
        count: Parameters of the whole model.

    Raises:
        ConfigError: It has more than `MOST_PARAMETERS`.
    """
    if count > MOST_PARAMETERS:
        raise ConfigError(
            f"this model would have {decimal.Decimal(count):.1e} parameters; choose smaller sizes, for at most "
            f"{MOST_PARAMETERS:.0e}"
        )
