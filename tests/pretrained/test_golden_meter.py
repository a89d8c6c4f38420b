"""The official METER code's numbers, stage by stage."""

from typing import Any

import jax
import numpy as np
import pytest

from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.segments import fold_stages
from smarttrim_jax.pretrained import from_official


@pytest.fixture(scope="module")
def ours(golden_meter: Any) -> dict[str, np.ndarray]:
    weights = {key.removeprefix("state_dict/"): golden_meter[key] for key in golden_meter if "state_dict/" in key}
    config, params = from_official(weights, text_heads=4, fusion_heads=5)
    model = Functional(config)

    @jax.jit
    def run(*inputs: Any) -> dict[str, jax.Array]:
        output, meter = model.apply(params, *inputs), model.bind(params)
        image_run = meter.stages[:1]
        state, _ = fold_stages(image_run, meter.start(*inputs), None, None)
        return {
            "vit": meter.image.last_norm(state["image"].values),
            "text_feats": output.state["text"].values,
            "image_feats": output.state["image"].values,
            "cls_feats": output.pooled,
        } | {f"{name}_logits": logits for name, logits in output.logits.items()}

    images = golden_meter["inputs/image"].transpose(0, 2, 3, 1)
    return run(images, golden_meter["inputs/text_ids"], golden_meter["inputs/text_masks"])


@pytest.mark.parametrize(
    "output",
    [
        "vit",
        "text_feats",
        "image_feats",
        "cls_feats",
        "vqa_logits",
        "snli_logits",
        "itm_logits",
        "mlm_logits",
    ],
)
def test_equals_the_official_code(ours, golden_meter, output):
    np.testing.assert_allclose(ours[output], golden_meter[f"outputs/{output}"], atol=1e-5)
