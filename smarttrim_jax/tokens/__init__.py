"""The token sequences of a batch and how they are stored; no other package depends on the memory layout.

Norms, projections and MLPs act on `[..., width]` and ignore the layout. Operations that mix tokens, or that combine
one vector per example with the example's tokens, call methods of the token layout instead. Pass tokens to modules by
keyword: flax's `nnx.tabulate` can print a dataclass that is a named argument, and fails on a dataclass inside a tuple
of arguments or results.
"""

from smarttrim_jax.tokens.attention import Kernel, attend, gated_softmax
from smarttrim_jax.tokens.layout import Tokens
from smarttrim_jax.tokens.packed import Packed, compact
from smarttrim_jax.tokens.padded import Padded, as_tokens, first_token_open
from smarttrim_jax.tokens.shortened import Shortened, shorten

__all__ = [
    "Kernel",
    "Packed",
    "Padded",
    "Shortened",
    "Tokens",
    "as_tokens",
    "attend",
    "compact",
    "first_token_open",
    "gated_softmax",
    "shorten",
]
