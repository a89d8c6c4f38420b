"""What a METER's two encoders compute, before the fusion."""

from typing import Any

import jax

from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.models.segments import fold_stages


def encoder_states(config: MeterConfig, params: Params, images: Any, ids: Any, mask: Any) -> dict[str, jax.Array]:
    """The states after the last layers, "image" and "text", and "normed": the image's after its last norm."""
    model = Functional(config)

    @jax.jit
    def run(params: Params, *batch: Any) -> dict[str, jax.Array]:
        meter = model.bind(params)
        state, _ = fold_stages(meter.stages[:2], meter.start(*batch), None, None)
        image = state["image"].values
        return {"image": image, "normed": meter.image.last_norm(image), "text": state["text"].values}

    return run(params, images, ids, mask)
