"""A linear map over the last axis, fast in both directions."""

from flax import nnx
from jaxtyping import Array, Float


class Linear(nnx.Linear):
    """`nnx.Linear` on a matrix: leading axes are joined for the product.

    With several leading axes the kernel's gradient contracts over all of them, for which XLA's CPU backend
    first transposes, element by element, what is larger than the product itself (a quarter of the speed).
    """

    def __call__(self, inputs: Float[Array, "*leading features"]) -> Float[Array, "*leading outputs"]:  # type: ignore[override]
        """`inputs kernel + bias`."""
        if inputs.ndim <= 2:
            return super().__call__(inputs)
        outputs = super().__call__(inputs.reshape(-1, inputs.shape[-1]))
        return outputs.reshape(*inputs.shape[:-1], -1)
