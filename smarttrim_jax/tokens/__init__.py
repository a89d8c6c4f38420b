"""How tokens lie in memory: the only package that knows.

Norms, projections and MLPs act on `[..., width]`; whatever mixes tokens, or meets one vector per example
with many tokens, asks the tokens themselves. Modules are handed tokens by keyword: flax's `nnx.tabulate` shows a
dataclass that has a name, and fails on one in a tuple of arguments or results.
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
