"""Generation equals Hugging Face's `generate`, token by token."""

import itertools
from typing import Any

import numpy as np
import pytest
from table_decoder import EOS, FOUR_PROMPTS, PAD, TableDecoder, random_table

from smarttrim_jax.generation import GenerationConfig

torch = pytest.importorskip("torch", reason="parity with transformers needs the extra 'parity'")
transformers = pytest.importorskip("transformers", reason="parity with transformers needs the extra 'parity'")


def hugging_face(decoder: TableDecoder) -> Any:
    """The same decoder as a transformers model."""
    theirs = TableDecoder(torch.tensor(decoder.table))

    class TableModel(transformers.PreTrainedModel, transformers.GenerationMixin):
        config_class = transformers.PretrainedConfig

        def __init__(self, config: Any):
            super().__init__(config)
            self.anchor = torch.nn.Parameter(torch.zeros(1))
            self.post_init()

        def forward(self, input_ids: Any, attention_mask: Any = None, **_: Any) -> Any:
            before, position = torch.nn.functional.pad(input_ids, (1, 0))[:, :-1], torch.arange(input_ids.shape[1])
            logits = theirs.logits(before, input_ids, position[:, None])
            return transformers.modeling_outputs.CausalLMOutput(logits=logits)

        def prepare_inputs_for_generation(
            self, input_ids: Any, attention_mask: Any = None, **_: Any
        ) -> dict[str, Any]:
            return {"input_ids": input_ids}

    return TableModel(transformers.PretrainedConfig(vocab_size=len(decoder.table))).eval()


def their_texts(model: Any, prompt: np.ndarray, config: GenerationConfig) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids padded to `max_length`, and the scores that beam search gives."""
    output = model.generate(
        torch.tensor(prompt),
        attention_mask=torch.ones(prompt.shape, dtype=torch.long),
        do_sample=False,
        use_cache=False,
        num_beams=config.num_beams,
        max_length=config.max_length,
        min_length=config.min_length,
        length_penalty=config.length_penalty,
        early_stopping=config.early_stopping,
        repetition_penalty=config.repetition_penalty,
        eos_token_id=EOS,
        pad_token_id=PAD,  # not 0: transformers takes that for no padding, and fills with the end
        return_dict_in_generate=True,
        output_scores=True,
    )
    ids = output.sequences.numpy()
    ids = np.pad(ids, ((0, 0), (0, config.max_length - ids.shape[1])), constant_values=PAD)
    return ids, output.sequences_scores.numpy() if config.num_beams > 1 else None


@pytest.mark.parametrize("num_beams", [1, 3, 5])
@pytest.mark.parametrize("repetition_penalty", [1.0, 1.1])
@pytest.mark.parametrize("lengths", [(0, 12), (6, 12), (1, 4)])
def test_ids_and_scores_equal_transformers(
    num_beams: int, repetition_penalty: float, lengths: tuple[int, int]
) -> None:
    config = GenerationConfig(
        eos_id=EOS,
        pad_id=PAD,
        min_length=lengths[0],
        max_length=lengths[1],
        num_beams=num_beams,
        repetition_penalty=repetition_penalty,
    )
    for seed, eos_bonus in itertools.product(range(3), (-4.0, 0.0, 2.5)):
        _assert_equal(random_table(seed, eos_bonus=eos_bonus), FOUR_PROMPTS, config)


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 2.0])
def test_stopping_and_length_penalty_equal_transformers(early_stopping: Any, length_penalty: float) -> None:
    config = GenerationConfig(
        eos_id=EOS,
        pad_id=PAD,
        max_length=12,
        num_beams=3,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
    )
    for seed in range(6):
        _assert_equal(random_table(seed, eos_bonus=1.5), FOUR_PROMPTS, config)


@pytest.mark.parametrize("prompt", [[[3]], [[3, 4, 5, 6, 7]]], ids=["one token", "five tokens"])
@pytest.mark.parametrize("num_beams", [1, 3, 5])
def test_one_example_with_a_prompt_of_any_length(num_beams: int, prompt: list[list[int]]) -> None:
    config = GenerationConfig(eos_id=EOS, pad_id=PAD, max_length=10, num_beams=num_beams)
    for seed in range(4):
        _assert_equal(random_table(seed, eos_bonus=1.5), np.array(prompt), config)


def _assert_equal(decoder: TableDecoder, prompt: np.ndarray, config: GenerationConfig) -> None:
    expected, scores = their_texts(hugging_face(decoder), prompt, config)
    ours = decoder.run(prompt, config)
    np.testing.assert_array_equal(ours.ids, expected)
    if scores is not None:
        np.testing.assert_allclose(ours.scores, scores, rtol=1e-5)
