"""The names and shapes of BLIP's official checkpoints, written from the lists of the official modules."""

import dataclasses

Shapes = dict[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Small numbers that are all different, so that no shape fits by chance."""

    vision_width: int = 24
    vision_depth: int = 2
    vision_mlp: int = 36
    width: int = 20
    depth: int = 4
    mlp: int = 28
    first_merge: int = 2
    features: int = 8
    queue: int = 12


SIZES = Sizes()


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _vision(name: str) -> Shapes:
    width, mlp = SIZES.vision_width, SIZES.vision_mlp
    shapes: Shapes = {
        f"{name}.cls_token": (1, 1, width),
        f"{name}.pos_embed": (1, 17, width),
        f"{name}.patch_embed.proj.weight": (width, 3, 16, 16),
        f"{name}.patch_embed.proj.bias": (width,),
        **_norm(f"{name}.norm", width),
    }
    for block in (f"{name}.blocks.{i}" for i in range(SIZES.vision_depth)):
        shapes |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
        shapes |= _linear(f"{block}.attn.qkv", 3 * width, width) | _linear(f"{block}.attn.proj", width, width)
        shapes |= _linear(f"{block}.mlp.fc1", mlp, width) | _linear(f"{block}.mlp.fc2", width, mlp)
    return shapes


def _attention(name: str, source: int) -> Shapes:
    width = SIZES.width
    return {
        **_linear(f"{name}.query", width, width),
        **_linear(f"{name}.key", width, source),
        **_linear(f"{name}.value", width, source),
    }


def _text(name: str, source: int, *, twin: bool = False) -> Shapes:
    width = SIZES.width
    shapes: Shapes = {
        f"{name}.embeddings.position_ids": (1, 20),
        f"{name}.embeddings.word_embeddings.weight": (40, width),
        f"{name}.embeddings.position_embeddings.weight": (20, width),
        **_norm(f"{name}.embeddings.LayerNorm", width),
    }
    for index in range(SIZES.depth):
        layer = f"{name}.encoder.layer.{index}"
        cross = f"{layer}.crossattention"
        shapes |= _attention(f"{layer}.attention.self", width)
        shapes |= _linear(f"{layer}.attention.output.dense", width, width)
        for part in ("0", "1") if twin else ("",):
            shapes |= _attention(f"{cross}.self{part}", source) | _linear(f"{cross}.output.dense{part}", width, width)
        if twin and index >= SIZES.first_merge:
            shapes |= _linear(f"{cross}.output.merge_layer", width, 2 * width)
        for norm in (f"{layer}.attention.output", f"{cross}.output", f"{layer}.output"):
            shapes |= _norm(f"{norm}.LayerNorm", width)
        shapes |= _linear(f"{layer}.intermediate.dense", SIZES.mlp, width)
        shapes |= _linear(f"{layer}.output.dense", width, SIZES.mlp)
    return shapes


def _decoder(source: int) -> Shapes:
    width, head = SIZES.width, "text_decoder.cls.predictions"
    return {
        **_text("text_decoder.bert", source),
        f"{head}.bias": (40,),
        **_linear(f"{head}.transform.dense", width, width),
        **_norm(f"{head}.transform.LayerNorm", width),
        **_linear(f"{head}.decoder", 40, width),
    }


def _retrieval() -> Shapes:
    models: Shapes = {}
    for suffix in ("", "_m"):
        models |= _vision(f"visual_encoder{suffix}") | _text(f"text_encoder{suffix}", SIZES.vision_width)
        models |= _linear(f"vision_proj{suffix}", SIZES.features, SIZES.vision_width)
        models |= _linear(f"text_proj{suffix}", SIZES.features, SIZES.width)
    queues: Shapes = {
        "image_queue": (SIZES.features, SIZES.queue),
        "text_queue": (SIZES.features, SIZES.queue),
    }
    return models | queues | {"temp": ()} | _linear("itm_head", 2, SIZES.width)


def official_shapes(kind: str) -> Shapes:
    """Of a fine-tuned task's checkpoint, or of the one from pre-training."""
    image, text = SIZES.vision_width, SIZES.width
    if kind == "vqa":
        return _vision("visual_encoder") | _text("text_encoder", image) | _decoder(text)
    if kind == "nlvr2":
        head = _linear("cls_head.0", text, text) | _linear("cls_head.2", 2, text)
        return _vision("visual_encoder") | _text("text_encoder", image, twin=True) | head
    if kind == "caption":
        return _vision("visual_encoder") | _decoder(image)
    if kind == "retrieval":
        return _retrieval() | {"idx_queue": (1, SIZES.queue), "ptr_queue": (1,)}
    return _retrieval() | _decoder(image) | {"queue_ptr": (1,)}
