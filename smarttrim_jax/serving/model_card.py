"""The model card of a saved model."""

import importlib.metadata

from smarttrim_jax.data.language import Language
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.trimming.calibration import SpeedDial
from smarttrim_jax.version import __version__

SHOWN_ANSWERS = 20


def model_card(config: ExperimentConfig, language: Language, dial: SpeedDial | None) -> str:
    """Writes the model card.

    Args:
        config: Configuration with all sizes resolved.
        language: Tokenizer and names of the answers.
        dial: Speed dial; None if the model has never been trimmed.

    Returns:
        The card as Markdown.
    """
    model, data = config.model, config.data
    names = language.answer_names
    answers = ", ".join(names[:SHOWN_ANSWERS]) + (
        f", and {len(names) - SHOWN_ANSWERS} more" if len(names) > SHOWN_ANSWERS else ""
    )
    images, pixels = data.example_images or model.images, data.image_size
    facts = {
        "backbone": type(model).__name__.removesuffix("Config"),
        "task": config.task,
        "images": f"{images} of any size, read at {pixels} x {pixels} pixels",
        "text": f"{data.text_length} tokens at most, a vocabulary of {language.text.vocab_size}",
        "answers": answers or "written by the model",
        "trained on": data.dataset or "data of its user's own",
        "speed-ups": "none: it never trimmed"
        if dial is None
        else f"1 to {1 / dial.ratios[0]:.2f}, {config.cost.target_speedup:g} unless another is asked for",
        "written by": f"smarttrim_jax {__version__}, jax {importlib.metadata.version('jax')}",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"""# A vision-language model that trims itself

| | |
|---|---|
{table}

It drops, for every example and in every layer, the image patches, words and attention heads that it can do without
(SmartTrim, Wang et al., LREC-COLING 2024). Speed-ups are in multiply-adds, on average over questions like those that
it was calibrated on.

```python
import smarttrim_jax

model = smarttrim_jax.load_model("this folder")
model.answer("photo.jpg", "what is in the picture?")
```

    python -m smarttrim_jax.predict --workdir=FOLDER --image=photo.jpg --text="what is in the picture?"

`digests.json` holds the SHA-256 of every file but this one; a file that was changed is not opened.
"""
