"""A table of rules reads official tensors, writes them back, and lists every mismatch."""

import numpy as np
import pytest

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.pretrained.torch_modules import embedding, linear, packed_attention
from smarttrim_jax.pretrained.weight_table import PATCHES, Rule, WeightTable

TABLE = WeightTable(
    "TOY",
    (
        *linear("head", "out"),
        *packed_attention("blocks.{layer}.attn", "layers/attention"),
        Rule("conv", ("patches/kernel",), PATCHES),
        embedding("words", "words"),
    ),
    leftovers=(r"queue\.\d+",),
)
SHAPES = {
    "out/kernel": (2, 5),
    "out/bias": (5,),
    "patches/kernel": (12, 2),
    "words/embedding": (7, 2),
    **{f"layers/attention/{part}/kernel": (3, 2, 2) for part in ("query", "key", "value", "out")},
    **{f"layers/attention/{part}/bias": (3, 2) for part in ("query", "key", "value", "out")},
}


@pytest.fixture
def official() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"head.weight": (5, 2), "head.bias": (5,), "conv": (2, 3, 2, 2), "words.weight": (7, 2)}
    for layer in range(3):
        attention = {
            "in_proj_weight": (6, 2),
            "in_proj_bias": (6,),
            "out_proj.weight": (2, 2),
            "out_proj.bias": (2,),
        }
        shapes |= {f"blocks.{layer}.attn.{name}": shape for name, shape in attention.items()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_every_kind_of_rule_puts_numbers_where_they_belong(official):
    params = TABLE.read(official, SHAPES)
    assert {path: array.shape for path, array in params.items()} == SHAPES
    np.testing.assert_array_equal(params["out/kernel"], official["head.weight"].T)
    packed = official["blocks.1.attn.in_proj_weight"]
    for index, part in enumerate(("query", "key", "value")):
        expected = packed[2 * index : 2 * index + 2].T
        np.testing.assert_array_equal(params[f"layers/attention/{part}/kernel"][1], expected)
    # row y, column x, channel c of the patch is row (y * 2 + x) * 3 + c of the matrix
    np.testing.assert_array_equal(params["patches/kernel"][(1 * 2 + 0) * 3 + 2], official["conv"][:, 2, 1, 0])


def test_writing_gives_the_official_tensors_back_bit_for_bit(official):
    written = TABLE.write(TABLE.read(official, SHAPES))
    assert written.keys() == official.keys()
    for name, tensor in official.items():
        np.testing.assert_array_equal(written[name], tensor)


def test_leftovers_are_skipped_and_halves_are_widened(official):
    official = {name: tensor.astype(np.float16) for name, tensor in official.items()}
    params = TABLE.read(official | {"queue.12": np.zeros(3)}, SHAPES)
    assert {array.dtype for array in params.values()} == {np.dtype(np.float32)}


def test_every_mismatch_is_listed_at_once(official):
    del official["head.bias"], official["blocks.2.attn.out_proj.bias"]
    official["words.weight"] = np.zeros((9, 2), np.float32)
    official["blocks.3.attn.in_proj_bias"] = np.zeros(6, np.float32)
    official["queue"] = np.zeros(6, np.float32)
    with pytest.raises(CheckpointError) as error:
        TABLE.read(official, SHAPES | {"gamma/scale": (2,)})
    message = str(error.value)
    assert "TOY checkpoint" in message
    assert "2 missing: head.bias, blocks.2.attn.out_proj.bias" in message
    assert "2 unexpected: blocks.3.attn.in_proj_bias, queue" in message
    assert "1 misshaped: words.weight is [9, 2] instead of [7, 2]" in message
    assert "1 without an official counterpart: gamma/scale" in message


def test_a_tensor_that_numpy_cannot_read_is_named(official):
    class Foreign:
        def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
            raise TypeError("unsupported ScalarType BFloat16")

    with pytest.raises(CheckpointError, match=r"weight 'head.weight' cannot be read"):
        TABLE.read(official | {"head.weight": Foreign()}, SHAPES)
