"""The official BLIP code's numbers, stage by stage, for visual question answering."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.models.functional import Functional
from smarttrim_jax.objectives.language import answer_loss
from smarttrim_jax.pretrained import from_official_blip

ENC, DEC = 501, 500


@pytest.fixture(scope="module")
def golden_blip(golden: pathlib.Path) -> Any:
    return np.load(golden / "blip_tiny_vqa.npz")


@pytest.fixture(scope="module")
def ours(golden_blip: Any) -> dict[str, np.ndarray]:
    weights = {key.removeprefix("state_dict/"): golden_blip[key] for key in golden_blip if "state_dict/" in key}
    config, params = from_official_blip(weights, task="vqa", vision_heads=6, text_heads=5)
    model = Functional(config)
    inputs = {key.removeprefix("inputs/"): golden_blip[key] for key in golden_blip if "inputs/" in key}
    questions, answers = jnp.asarray(inputs["question_ids"]).at[:, 0].set(ENC), inputs["answer_ids"].copy()
    answers[:, 0] = DEC
    # The official batch lists all answers, n to each question; ours has as many to each, some of them fillers.
    starts, most = np.cumsum(inputs["n"]) - inputs["n"], inputs["n"].max()
    taken = np.minimum(starts[:, None] + np.arange(most), len(answers) - 1)
    weights = inputs["weights"][taken] * (np.arange(most) < inputs["n"][:, None])

    @jax.jit
    def run() -> dict[str, jax.Array]:
        vqa = model.bind(params)
        encoded = vqa(inputs["image"].transpose(0, 2, 3, 1), questions, inputs["question_mask"])
        own, mask = answers[taken], inputs["answer_mask"][taken]
        logits = vqa.decode(encoded, own, mask).logits["answer"]
        best, _ = vqa.rank(encoded, jnp.asarray(answers), jnp.asarray(inputs["answer_mask"]), 4)
        return {
            "image_embeds": encoded.state["image"].values,
            "question_states": encoded.state["text"].values,
            "loss": jnp.mean(answer_loss(logits, jnp.asarray(own), jnp.asarray(mask), jnp.asarray(weights))),
            "rank": best[:, 0],
        }

    return run()


@pytest.mark.parametrize("output", ["image_embeds", "question_states", "loss"])
def test_equals_the_official_code(ours, golden_blip, output):
    expected = golden_blip[f"outputs/{output}"]
    np.testing.assert_allclose(ours[output], expected, atol=1e-4, rtol=1e-6)


def test_ranks_the_same_answers_first(ours, golden_blip):
    np.testing.assert_array_equal(ours["rank"], golden_blip["outputs/rank"])
