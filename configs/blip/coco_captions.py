r"""Captions of COCO with BLIP at 384 pixels; official settings (`configs/caption_coco.yaml`).

    python -m smarttrim_jax.train --config=blip/coco_captions:finetune --workdir=runs/blip_coco_captions \
        --config.data.source=coco
    python -m smarttrim_jax.train --config=blip/coco_captions:trim,speedup=2.5 --workdir=runs/blip_coco_captions_2.5 \
        --config.data.source=coco --config.init_from=runs/blip_coco_captions

Both look in the working folder for BLIP's weights (github.com/salesforce/BLIP, "checkpoints") and for BERT's words,
`bert-base-uncased/vocab.txt`. Without `init_from`, trim-tuning starts from BLIP's own fine-tuned weights. `:tiny`
trim-tunes a tiny model on a dozen made examples; `sweep` tries 1.5, 2, 2.5 and 3, or what
`:trim,speedup=2,sweep=ablations` says.

Steps are counted in captions, as BLIP does: an epoch of it reads each image five times. Scores need
`pip install "smarttrim_jax[captions]"`.

    hardware      16 chips of TPU v5e; launch/README.md has other settings
    time          16 minutes of fine-tuning, 31 minutes of trim-tuning: estimated from MACs, see launch/README.md
    dense         SPICE 23.8, measured by the authors of UPop; SPICE is not computed here
"""

from smarttrim_jax import blip_base, blip_tiny
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig
from smarttrim_jax.recipes import Recipe, in_epochs

RECIPE = Recipe(
    name="blip/coco_captions",
    fine_tuning=ExperimentConfig(
        model=blip_base("caption", scan=True, remat="full", dtype="bfloat16"),
        task="caption",
        seed=42,
        generator="rbg",
        init_from="model_base_capfilt_large.pth",
        data=DataConfig(
            dataset="coco",
            image_size=384,
            augment="blip",
            tokenizer="bert-base-uncased/vocab.txt",
            text_length=40,
            start="[DEC]",
            prompt="a picture of",
            text_cleaning="blip_caption",
            max_words=30,
            batch_size=256,
        ),
        optimizer=OptimizerConfig(
            learning_rate=1e-5, b2=0.999, weight_decay=0.05, schedule="cosine", warmup_fraction=0.0
        ),
        schedule=in_epochs(5, examples=566_747, batch_size=256),
        evaluation=EvaluationConfig(metrics=("coco_captions", "word_accuracy")),
    ),
    fine_tuned="model_base_caption_capfilt_large.pth",
    tiny=blip_tiny("caption", 32),
)
get_config = RECIPE.get_config
sweep = RECIPE.sweep
