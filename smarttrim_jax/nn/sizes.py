"""What sizes of layers amount to, and sizes that no layer can have."""

import decimal

from smarttrim_jax.errors import ConfigError

MOST_PARAMETERS = 10**12
"""AdamW keeps 12 bytes for each: 12 TB, which no machine holds by a mistake in one key."""


def layer_parameters(width: int, mlp_width: int, attentions: int = 1) -> int:
    """Numbers in the matrices of a transformer layer, without biases and norms.

    Args:
        width: Width of the tokens.
        mlp_width: Hidden width of the MLP.
        attentions: Attention modules; 2 with cross-attention.
    """
    return 4 * attentions * width**2 + 2 * width * mlp_width


def check_heads(heads: int, width: int) -> None:
    """Makes sure that heads share the width evenly.

    Raises:
        ConfigError: They do not.
    """
    if width % heads:
        raise ConfigError(f"heads is {heads}; it must divide width, {width}")


def check_parameters(count: int) -> None:
    """Makes sure that a model is of a size that there can be.

    Args:
        count: Parameters of the whole model.

    Raises:
        ConfigError: It is not.
    """
    if count > MOST_PARAMETERS:
        raise ConfigError(
            f"this model would have {decimal.Decimal(count):.1e} parameters; choose smaller sizes, for at most "
            f"{MOST_PARAMETERS:.0e}"
        )
