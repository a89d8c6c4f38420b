r"""NLVR2 with BLIP at 384 pixels: is a sentence true of two photographs? Official settings (`configs/nlvr.yaml`).

    python -m smarttrim_jax.train --config=blip/nlvr2:finetune --workdir=runs/blip_nlvr2 \
        --config.data.source=nlvr2
    python -m smarttrim_jax.train --config=blip/nlvr2:trim,speedup=2.5 --workdir=runs/blip_nlvr2_2.5 \
        --config.data.source=nlvr2 --config.init_from=runs/blip_nlvr2

Both look in the working folder for BLIP's weights (github.com/salesforce/BLIP, "checkpoints") and for BERT's words,
`bert-base-uncased/vocab.txt`. Without `init_from`, trim-tuning starts from BLIP's own fine-tuned weights. `:tiny`
trim-tunes a tiny model on a dozen made examples; `sweep` tries 1.5, 2, 2.5 and 3, or what
`:trim,speedup=2,sweep=ablations` says.

The two images are swapped at random in training alone; the official code swaps them in evaluation too.

    hardware      16 chips of TPU v5e; launch/README.md has other settings
    time          14 minutes of fine-tuning, 27 minutes of trim-tuning: estimated from MACs, see launch/README.md
    dense         83.08 % on test1, measured by the authors of UPop
"""

from smarttrim_jax import blip_base, blip_tiny
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig
from smarttrim_jax.recipes import Recipe, in_epochs

RECIPE = Recipe(
    name="blip/nlvr2",
    fine_tuning=ExperimentConfig(
        model=blip_base("nlvr2", scan=True, remat="full", dtype="bfloat16"),
        task="nlvr2",
        seed=42,
        generator="rbg",
        init_from="model_base.pth",
        data=DataConfig(
            dataset="nlvr2",
            image_size=384,
            augment="blip_nlvr2",
            tokenizer="bert-base-uncased/vocab.txt",
            text_length=50,
            start="[ENC]",
            text_cleaning="blip_caption",
            max_words=40,
            batch_size=256,
        ),
        optimizer=OptimizerConfig(
            learning_rate=3e-5, b2=0.999, weight_decay=0.05, schedule="cosine", warmup_fraction=0.0
        ),
        schedule=in_epochs(15, examples=86_373, batch_size=256),
        evaluation=EvaluationConfig(metrics=("accuracy", "consistency")),
    ),
    fine_tuned="model_base_nlvr.pth",
    tiny=blip_tiny("nlvr2", 32),
)
get_config = RECIPE.get_config
sweep = RECIPE.sweep
