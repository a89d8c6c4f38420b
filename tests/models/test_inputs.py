"""What is no input of a model is a sentence at its border."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tiny_blip import EVERY_TASK, fresh_blip

from smarttrim_jax.errors import SmartTrimError
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.trimming.gates import Trim


@pytest.fixture(params=["meter", *EVERY_TASK])
def case(request: Any, fresh_meter: Any) -> tuple[Functional, Any, list[np.ndarray]]:
    tiny = fresh_meter if request.param == "meter" else fresh_blip(request.param)
    return tiny.model, jax.tree.map(lambda leaf: leaf, tiny.params), [np.array(part) for part in tiny.batch]


def changed(batch: list[np.ndarray], what: str) -> list[np.ndarray]:
    images, ids, mask = batch
    if what.startswith("id "):
        ids[1, 2] = int(what.split()[1])
    elif what == "mask 2":
        mask[2, 1] = 2
    elif what == "mask nan":
        mask = np.where(np.arange(mask.shape[1]) == 1, np.nan, mask)
    elif what == "no token":
        mask[3] = 0
    elif what == "uint8":
        images = images.astype(np.uint8)
    elif what == "fewer texts":
        ids, mask = ids[:2], mask[:2]
    elif what == "shorter mask":
        mask = mask[:, :-1]
    elif what == "float ids":
        ids = ids.astype(np.float32)
    elif what == "one text":
        ids, mask = ids[0], mask[0]
    elif what == "grey":
        images = images[..., :1]
    elif what == "channels first":
        images = np.moveaxis(images, -1, -3)
    elif what == "cut":
        images = images[..., :-1, :]
    elif what == "no pixel":
        images = images[..., :0, :]
    elif what == "no text":
        return [images]
    return [images, ids, mask]


WRONG = {
    "id -1": "text 1 has the id -1 at token 2, but the word table has rows 0 to",
    "id 100000": "text 1 has the id 100000 at token 2",
    "mask 2": "the mask of text 2 is 2 at token 1; it is 1 for tokens, 0 for padding",
    "mask nan": "the mask of text 0 is nan at token 1",
    "no token": "the mask of text 3 is 0 for every token",
    "uint8": "images are uint8, but models take normalised floating-point pixels",
    "fewer texts": "4 examples of images but 2 texts",
    "shorter mask": r"the mask has the shape \[4, 9\], but ids have \[4, 10\]",
    "float ids": r"ids are float32\[4, 10\]; they are integers",
    "one text": r"ids are .*|4 examples of images but 10 texts",
    "grey": "images have the shape .*; they are",
    "channels first": "images have the shape .*; they are",
    "cut": "cannot be cut into patches of 8",
    "no pixel": "which holds no pixel",
    "no text": r"ids are int32\[4, 0\]; they are integers, \[batch, tokens\], of one token or more",
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_inputs_are_refused_before_anything_is_computed(case: Any, what: str) -> None:
    model, params, batch = case
    inputs = changed(batch, what)
    with pytest.raises(SmartTrimError, match=WRONG[what]) as error:
        model.apply(params, *inputs)
    assert "\n" not in str(error.value)


def test_inside_a_compiled_program_values_are_not_asked_for(case: Any) -> None:
    model, params, batch = case
    inputs = changed(batch, "id -1")
    output = jax.eval_shape(lambda *inputs: model.apply(params, *inputs).result, *inputs)
    assert output
    with pytest.raises(SmartTrimError, match="images are uint8"):
        jax.eval_shape(lambda *inputs: model.apply(params, *inputs).result, *changed(batch, "uint8"))


def test_inputs_split_over_explicit_axes_are_refused_with_the_fix(case: Any) -> None:
    model, params, batch = case
    mesh = jax.make_mesh((1,), ("x",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:1])
    split = [jax.device_put(part, NamedSharding(mesh, PartitionSpec("x"))) for part in batch]
    with pytest.raises(SmartTrimError, match=r"Explicit mesh axes \('x'\).*axis_types=\(AxisType.Auto,\)"):
        jax.eval_shape(lambda *inputs: model.apply(params, *inputs).result, *split)
    kernel = params["image"]["patch_embedding"]["kernel"]
    params["image"]["patch_embedding"]["kernel"] = jax.device_put(kernel, NamedSharding(mesh, PartitionSpec("x")))
    with pytest.raises(SmartTrimError, match=r"parameters are split over Explicit mesh axes \('x'\)"):
        model.apply(params, *batch)


@pytest.mark.parametrize("key", [None, 0])
def test_a_scan_runs_on_every_device_of_a_shard_map(case: Any, key: int | None) -> None:
    model, params, batch = case
    scanning = type(model)(type(model.config)(**vars(model.config) | {"scan": True}))
    mesh = jax.make_mesh((1,), ("x",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    keys = None if key is None else jax.random.key(key)

    def run(*inputs: Any) -> Any:
        return next(iter(scanning.apply(params, *inputs, trim=Trim(), key=keys).result.values()))

    split = PartitionSpec("x")
    mapped = jax.shard_map(run, mesh=mesh, in_specs=(split, split, split), out_specs=split)
    assert jax.eval_shape(mapped, *map(jnp.asarray, batch)).shape[0] == 4
