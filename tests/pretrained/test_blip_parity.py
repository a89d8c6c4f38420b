"""BLIP equals Hugging Face's transformers: from its files, in what it computes and writes, and back."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from hub_models import randomised, saved

from smarttrim_jax.generation import GenerationConfig
from smarttrim_jax.generation.blip import write_answers, write_captions
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.pretrained import from_official_blip, read_blip, write_huggingface, write_official
from smarttrim_jax.pretrained.files import read_weights
from smarttrim_jax.trimming.config import TrimmingConfig

PAD, DEC, SEP, WORDS = 1, 2, 3, 60
SPECIAL = {"pad_token_id": PAD, "bos_token_id": DEC, "sep_token_id": SEP, "eos_token_id": SEP}
# Heads and norms as no official model has them: they must come from the config.json.
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 8}
TEXT |= SPECIAL | {"layer_norm_eps": 1e-3}
VISION = {"intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "layer_norm_eps": 1e-2}
VISION |= {"image_size": 32, "patch_size": 8}
TASKS = {
    "vqa": "BlipForQuestionAnswering",
    "caption": "BlipForConditionalGeneration",
    "retrieval": "BlipForImageTextRetrieval",
}
ENDING = {"vqa": 4.0, "caption": 2.0}
"""Added to the logit of the end, that texts end in time."""
PROMPT = np.tile([[DEC, 9, 11, 8]], (3, 1))
GREEDY = GenerationConfig(eos_id=SEP, pad_id=PAD, max_length=12, min_length=6, repetition_penalty=2.0, classic=False)
BEAMS = dataclasses.replace(GREEDY, num_beams=3)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A model of theirs, the file that it wrote, and what we read from it."""

    theirs: Any
    file: pathlib.Path
    config: BlipConfig
    params: Params


@pytest.fixture(scope="module")
def pairs(hub: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    made = {}
    for task, name in TASKS.items():
        config = hub.BlipConfig(
            text_config=TEXT | {"vocab_size": WORDS, "max_position_embeddings": 24},
            # transformers' answer decoder reads questions as if they were as wide as images
            vision_config=VISION | {"hidden_size": 32 if task == "vqa" else 24},
            image_text_hidden_size=12,
        )
        model = randomised(getattr(hub, name)(config))
        if task in ENDING:
            _let_texts_vary(model.text_decoder, ENDING[task])
        file = saved(model, tmp_path_factory.mktemp(task))
        made[task] = Pair(model, file, *read_blip(file))
    return made


def _let_texts_vary(decoder: Any, ending: float) -> None:
    """So that its texts depend on what it reads, and some of them end in time."""
    head = decoder.cls.predictions
    for bias in (decoder.bert.embeddings.LayerNorm.bias, head.transform.LayerNorm.bias):
        bias.data -= 1
    head.bias.data[SEP] += ending


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    mask = (np.arange(12) < np.array([12, 7, 2])[:, None]).astype(np.int32)
    ids = np.where(mask, random.integers(4, WORDS, mask.shape), PAD).astype(np.int32)
    return {"images": random.normal(size=(3, 32, 32, 3)).astype(np.float32), "ids": ids, "mask": mask}


def torched(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    import torch

    names = {"input_ids": "ids", "attention_mask": "mask"}
    tensors = {theirs: torch.tensor(inputs[ours], dtype=torch.long) for theirs, ours in names.items()}
    return tensors | {"pixel_values": torch.tensor(inputs["images"].transpose(0, 3, 1, 2))}


def padded(ids: Any) -> np.ndarray:
    return np.pad(ids.numpy(), ((0, 0), (0, GREEDY.max_length - ids.shape[1])), constant_values=PAD)


def settings(config: GenerationConfig) -> dict[str, Any]:
    names = ("num_beams", "max_length", "min_length", "repetition_penalty")
    return {"do_sample": False} | {name: getattr(config, name) for name in names}


def assert_same_texts(ours: Any, theirs: list[np.ndarray]) -> None:
    """Of every way; texts that differ, and of which some end in time."""
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(own, other)
        assert len({tuple(text) for text in other.tolist()}) > 1
        assert (other == SEP).any()


def test_questions_and_answers(pairs: dict[str, Pair], inputs: dict[str, np.ndarray]) -> None:
    import torch

    pair, theirs = pairs["vqa"], torched(inputs)
    answers = np.where(np.arange(5) < np.array([5, 3, 2])[:, None], inputs["ids"][:, :5] % 40 + 4, PAD)
    answers[:, 0] = DEC
    with torch.no_grad():
        expected = [padded(pair.theirs.generate(**theirs, **settings(config))) for config in (GREEDY, BEAMS)]
        scored = {"return_dict_in_generate": True, "output_scores": True}
        scores = pair.theirs.generate(**theirs, **settings(BEAMS), **scored).sequences_scores

    @jax.jit
    def run(params: Params) -> Any:
        model = Functional(pair.config).bind(params)
        encoded = model(inputs["images"], inputs["ids"], inputs["mask"])
        logits = model.decode(encoded, answers[:, None], (answers != PAD)[:, None]).logits["answer"][:, 0]
        texts = [write_answers(model, encoded, DEC, config) for config in (GREEDY, BEAMS)]
        return encoded.state["text"].values, logits, texts

    states, logits, texts = run(pair.params)
    seen: dict[str, Any] = {}
    for part in ("text_encoder", "text_decoder"):
        module = getattr(pair.theirs, part)
        module.register_forward_hook(lambda *call, part=part: seen.update({part: call[2]}))
    for row, (length, most) in enumerate(zip(inputs["mask"].sum(axis=1), (answers != PAD).sum(axis=1), strict=True)):
        # Each alone, without padding: transformers 5 has its answer decoder read the padding of questions.
        alone = {name: tensor[row : row + 1, :length] for name, tensor in theirs.items() if name != "pixel_values"}
        with torch.no_grad():
            words = torch.tensor(answers[row : row + 1, :most])
            pair.theirs(**alone, pixel_values=theirs["pixel_values"][row : row + 1], decoder_input_ids=words)
        np.testing.assert_allclose(states[row, :length], seen["text_encoder"].last_hidden_state[0], atol=1e-4)
        np.testing.assert_allclose(logits[row, :most], seen["text_decoder"].logits[0], atol=1e-4)
    assert_same_texts([text.ids for text in texts], expected)
    np.testing.assert_allclose(texts[1].scores, scores, atol=1e-4)


def test_captions(pairs: dict[str, Pair], inputs: dict[str, np.ndarray]) -> None:
    import torch

    pair, theirs = pairs["caption"], torched(inputs)
    ways = [(PROMPT, BEAMS), (PROMPT, GREEDY), (PROMPT[:, :1], BEAMS), (PROMPT[:, :1], GREEDY)]
    with torch.no_grad():
        logits = pair.theirs(**theirs).logits
        expected = []
        for prompt, config in ways:
            ended = np.pad(prompt, ((0, 0), (0, 1)), constant_values=SEP)  # as a tokenizer gives it
            start = {"input_ids": torch.tensor(ended)} if prompt.shape[1] > 1 else {}
            ids = pair.theirs.generate(theirs["pixel_values"], **start, **settings(config))
            expected.append(padded(ids))

    @jax.jit
    def run(params: Params) -> Any:
        model = Functional(pair.config).bind(params)
        own = model(inputs["images"], inputs["ids"], inputs["mask"]).logits["caption"]
        written = [
            write_captions(model, inputs["images"], jnp.asarray(prompt), config).ids for prompt, config in ways
        ]
        return own, written

    ours, texts = run(pair.params)
    for row, length in enumerate(inputs["mask"].sum(axis=1)):
        np.testing.assert_allclose(ours[row, :length], logits[row, :length], atol=1e-4)
    assert_same_texts(texts, expected)


def test_pairs_of_images_and_texts(pairs: dict[str, Pair], inputs: dict[str, np.ndarray]) -> None:
    import torch

    pair = pairs["retrieval"]
    with torch.no_grad():
        match, cosine = (
            pair.theirs(**torched(inputs), use_itm_head=judged).itm_score.numpy() for judged in (True, False)
        )

    @jax.jit
    def run(params: Params) -> Any:
        model = Functional(pair.config).bind(params)
        images = model.encode_images(inputs["images"])
        texts = model.encode_texts(inputs["ids"], inputs["mask"])
        judged = model(inputs["images"], inputs["ids"], inputs["mask"]).logits["itm"]
        return judged, images.features @ texts.features.T

    ours = run(pair.params)
    np.testing.assert_allclose(ours[0], match, atol=1e-4)
    np.testing.assert_allclose(ours[1], cosine, atol=1e-4)
    assert np.std(cosine) > 1e-2


@pytest.mark.parametrize("task", TASKS)
def test_theirs_to_ours_to_theirs_bit_for_bit(
    hub: Any, pairs: dict[str, Pair], inputs: dict[str, np.ndarray], task: str, tmp_path: pathlib.Path
) -> None:
    pair = pairs[task]
    files = write_huggingface(tmp_path / "model.safetensors", pair.config, pair.params)
    beside = ["model.trimmers.safetensors"] if task == "retrieval" else []
    assert [file.name for file in files] == ["model.safetensors", *beside, "config.json"]
    written, original = read_weights(files[0]), pair.theirs.state_dict()
    assert written.keys() == original.keys()
    for name, tensor in original.items():
        np.testing.assert_array_equal(written[name], tensor, err_msg=name)
    again = getattr(hub, TASKS[task]).from_pretrained(tmp_path)
    for name, tensor in again.state_dict().items():
        np.testing.assert_array_equal(tensor, original[name], err_msg=name)
    told, asked = again.config.to_dict(), pair.theirs.config.to_dict()
    for part, sizes in (("text_config", TEXT), ("vision_config", VISION)):
        for name in {*sizes, "hidden_act", "layer_norm_eps", "hidden_size"} - SPECIAL.keys():
            assert told[part][name] == asked[part][name], name


@pytest.mark.parametrize("task", TASKS)
def test_the_official_names_hold_the_same_numbers(pairs: dict[str, Pair], task: str, tmp_path: pathlib.Path) -> None:
    pair = pairs[task]
    file, *_ = write_official(tmp_path / "blip.safetensors", pair.config, pair.params)
    config, params = read_blip(file)
    assert config == pair.config
    jax.tree.map(np.testing.assert_array_equal, params, pair.params)
    tensors = read_weights(file)
    qkv = pair.theirs.state_dict()["vision_model.encoder.layers.1.self_attn.qkv.weight"]
    np.testing.assert_array_equal(tensors["visual_encoder.blocks.1.attn.qkv.weight"], qkv)


def test_other_images_resize_the_positions_as_transformers_does(pairs: dict[str, Pair]) -> None:
    import torch

    pair = pairs["caption"]
    config, params = read_blip(pair.file, image_size=48)
    embeddings = pair.theirs.vision_model.embeddings
    with torch.no_grad():
        table = embeddings.interpolate_pos_encoding(torch.zeros(1, 37, 24), 48, 48)
    assert config.vision.image_size == 48
    np.testing.assert_allclose(params["image"]["position_embedding"], table[0], atol=1e-5)


def test_a_state_dict_alone_gives_the_same_model(pairs: dict[str, Pair]) -> None:
    pair = pairs["vqa"]
    state = dict(pair.theirs.state_dict())
    del state["text_decoder.bert.embeddings.word_embeddings.weight"]  # tied, and there by its other name
    more = {"vision_heads": 4, "text_heads": 8, "vision_epsilon": 1e-2}
    config, params = from_official_blip(state, trimming=TrimmingConfig(), **more)
    text = dataclasses.replace(config.text, dropout=0.0, pad_id=PAD, epsilon=1e-3)
    assert dataclasses.replace(config, text=text, trimming=None) == pair.config
    plain = flatten_dict({name: part for name, part in params.items() if name != "trimmers"}, sep="/")
    for path, leaf in flatten_dict(pair.params, sep="/").items():
        np.testing.assert_array_equal(plain[path], leaf)
