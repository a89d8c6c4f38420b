r"""NLVR2 with METER at 288 pixels: is a sentence true of two photographs? Official settings.

    python -m smarttrim_jax.train --config=meter/nlvr2:finetune --workdir=runs/meter_nlvr2 \
        --config.data.source=nlvr2
    python -m smarttrim_jax.train --config=meter/nlvr2:trim,speedup=2.5 --workdir=runs/meter_nlvr2_2.5 \
        --config.data.source=nlvr2 --config.init_from=runs/meter_nlvr2

Both look in the working folder for METER's weights (github.com/zdou0830/METER, releases) and for `roberta-base`, a
folder with RoBERTa's vocab.json and merges.txt. Without `init_from`, trim-tuning starts from METER's own fine-tuned
weights. `:tiny` trim-tunes a tiny model on a dozen made examples; `sweep` tries 1.5, 2, 2.5 and 3, or what
`:trim,speedup=2,sweep=ablations` says.

    hardware      16 chips of TPU v5e; launch/README.md has other settings
    time          7 minutes of fine-tuning, 14 minutes of trim-tuning: estimated from MACs, see launch/README.md
    dense         82.06 % on dev, 82.20 % on test1, by a user of the official code (zdou0830/METER, issue 26)
"""

from smarttrim_jax import HeadConfig, meter_base
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig
from smarttrim_jax.recipes import Recipe, in_epochs, made_meter

RECIPE = Recipe(
    name="meter/nlvr2",
    fine_tuning=ExperimentConfig(
        model=meter_base(
            288,
            heads=(HeadConfig("nlvr2", "classifier", 2),),
            images=2,
            scan=True,
            remat="full",
            dtype="bfloat16",
        ),
        task="nlvr2",
        generator="rbg",
        init_from="meter_clip16_288_roberta_pretrain.ckpt",
        data=DataConfig(
            dataset="nlvr2",
            image_size=288,
            resize="resize_crop",
            augment="clip_randaug",
            tokenizer="roberta-base",
            text_length=50,
            batch_size=256,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-5, head=10.0, cross_modal=5.0),
        schedule=in_epochs(10, examples=86_373, batch_size=256),
        evaluation=EvaluationConfig(metrics=("accuracy", "consistency")),
    ),
    fine_tuned="meter_clip16_288_roberta_nlvr2.ckpt",
    tiny=made_meter(HeadConfig("nlvr2", "classifier", 0), images=2),
)
get_config = RECIPE.get_config
sweep = RECIPE.sweep
