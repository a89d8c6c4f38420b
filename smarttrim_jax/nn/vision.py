"""The vision transformer, with the variations of CLIP, BLIP and DINOv2."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from smarttrim_jax.configuration import Settings
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn import starts
from smarttrim_jax.nn.layer_stack import stack
from smarttrim_jax.nn.layers import PreNormLayer, layer_norm
from smarttrim_jax.nn.positions import resize_positions
from smarttrim_jax.nn.primitives import Linear
from smarttrim_jax.nn.sizes import check_heads, layer_parameters
from smarttrim_jax.ranges import Depth, NonNegativeInt, PositiveFloat, PositiveInt, ShareBelowOne
from smarttrim_jax.tokens import Kernel, Padded


@dataclasses.dataclass(frozen=True)
class VisionConfig(Settings):
    """Sizes and variations of a vision transformer; the defaults are METER's CLIP ViT-B/16.

    Attributes:
        image_size: Side of the square images, in pixels.
        patch_size: Side of a patch, in pixels; must divide `image_size`.
        width: Width of the tokens.
        depth: Number of layers (METER runs 11 of CLIP's 12).
        heads: Attention heads; must divide `width`.
        mlp_width: Hidden width of the MLPs.
        activation: "quick_gelu" for CLIP, "gelu" for BLIP and DINOv2.
        epsilon: Epsilon of every LayerNorm (CLIP 1e-5, BLIP and DINOv2 1e-6).
        pre_norm: Whether there is a LayerNorm before the first layer (CLIP).
        patch_bias: Whether the patch embedding has a bias (BLIP, DINOv2).
        layer_scale: Whether every residual branch has a learned scale (DINOv2).
        drop_path: Stochastic depth of the last layer, growing linearly from 0.
        position_grid: Side of the position table in patches; 0 means `image_size / patch_size`.
    """

    image_size: PositiveInt = 288
    patch_size: PositiveInt = 16
    width: PositiveInt = 768
    depth: Depth = 11
    heads: PositiveInt = 12
    mlp_width: PositiveInt = 3072
    activation: Literal["gelu", "quick_gelu"] = "quick_gelu"
    epsilon: PositiveFloat = 1e-5
    pre_norm: bool = True
    patch_bias: bool = False
    layer_scale: bool = False
    drop_path: ShareBelowOne = 0.0
    position_grid: NonNegativeInt = 0

    def check(self) -> None:
        """Makes sure that the fields fit together; see `Settings.check`."""
        if self.image_size % self.patch_size:
            raise ConfigError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        check_heads(self.heads, self.width)

    @property
    def patches(self) -> int:
        """The number of patches of one image of side `image_size`."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def grid(self) -> int:
        """The side of the position table, in patches."""
        return self.position_grid or self.image_size // self.patch_size

    @property
    def parameters(self) -> int:
        """The number of parameters in its matrices and tables, without biases and norms."""
        tables = (3 * self.patch_size**2 + 1 + self.grid**2) * self.width
        return tables + self.depth * layer_parameters(self.width, self.mlp_width)


class VisionTransformer(nnx.Module):
    """Patch, [CLS] and position embeddings; a stack of pre-norm layers; and a last norm over all tokens.

    The model runs `layers` itself, so that it decides what is trimmed between them.

    Args:
        config: Sizes and variations.
        dtype: Data type of the computation.
        kernel: Attention kernel of training and evaluation.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, config: VisionConfig, *, dtype: DTypeLike, kernel: Kernel = "auto", rngs: nnx.Rngs):
        self.config, self.dtype = config, dtype
        normal = nnx.initializers.normal(config.width**-0.5)  # as CLIP's class embedding starts
        self.patch_embedding = Linear(
            3 * config.patch_size**2,
            config.width,
            use_bias=config.patch_bias,
            kernel_init=starts.patch_kernel,
            dtype=dtype,
            rngs=rngs,
        )
        self.class_embedding = nnx.Param(normal(rngs.params(), (config.width,), jnp.float32))
        self.position_embedding = nnx.Param(starts.position_table(config.grid, config.width))
        self.first_norm = (
            layer_norm(config.width, config.epsilon, dtype=dtype, rngs=rngs) if config.pre_norm else None
        )
        self.layers = stack(
            lambda rngs: PreNormLayer(
                config.width,
                config.heads,
                config.mlp_width,
                activation=config.activation,
                epsilon=config.epsilon,
                layer_scale=config.layer_scale,
                dtype=dtype,
                kernel=kernel,
                rngs=rngs,
            ),
            config.depth,
            rngs,
        )
        self.last_norm = layer_norm(config.width, config.epsilon, dtype=dtype, rngs=rngs)

    def embed(self, images: Float[Array, "batch height width 3"]) -> Padded:
        """Embeds a batch of images. All tokens are open.

        Args:
            images: Normalised pixels, `[batch, height, width, 3]`. Positions are resized to the number of patches.

        Returns:
            The tokens before the first layer: [CLS], then the patches row by row.

        Raises:
            ConfigError: The images' sides are no multiples of the patch size.
        """
        patch = self.config.patch_size
        batch, height, width, _ = images.shape
        if height % patch or width % patch:
            raise ConfigError(f"images of {height} x {width} pixels cannot be cut into patches of {patch}")
        grid = (height // patch, width // patch)
        cut = images.reshape(batch, grid[0], patch, grid[1], patch, 3).transpose(0, 1, 3, 2, 4, 5)
        patches = self.patch_embedding(cut.reshape(batch, grid[0] * grid[1], -1))
        first = jnp.broadcast_to(self.class_embedding[...].astype(patches.dtype), (batch, 1, patches.shape[-1]))
        positions = resize_positions(self.position_embedding[...], grid)
        x = jnp.concatenate([first, patches], axis=1) + positions.astype(patches.dtype)
        x = x if self.first_norm is None else self.first_norm(x)
        return Padded(x, jnp.ones(x.shape[:2], jnp.float32))

    def layer_inputs(self) -> dict[str, Float[Array, " depth"]]:
        """The inputs that differ from layer to layer: stochastic depth, which rises linearly to the last layer.

        Returns:
            `drop_path_rate`, `[depth]`; empty if there is no stochastic depth.
        """
        if self.config.drop_path == 0.0:
            return {}
        return {"drop_path_rate": jnp.linspace(0.0, self.config.drop_path, self.config.depth, dtype=jnp.float32)}
