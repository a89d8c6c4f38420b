r"""SNLI-VE with METER at 384 pixels: entailment, contradiction or neither; official settings.

    python -m smarttrim_jax.train --config=meter/snli_ve:finetune --workdir=runs/meter_snli_ve \
        --config.data.source=snli_ve
    python -m smarttrim_jax.train --config=meter/snli_ve:trim,speedup=2.5 --workdir=runs/meter_snli_ve_2.5 \
        --config.data.source=snli_ve --config.init_from=runs/meter_snli_ve

Both look in the working folder for METER's weights (github.com/zdou0830/METER, releases) and for `roberta-base`, a
folder with RoBERTa's vocab.json and merges.txt. Without `init_from`, trim-tuning starts from METER's own fine-tuned
weights. `:tiny` trim-tunes a tiny model on a dozen made examples; `sweep` tries 1.5, 2, 2.5 and 3, or what
`:trim,speedup=2,sweep=ablations` says.

Batches of 64 leave each of 16 chips four examples, so that it works at less than the estimate assumes.

    hardware      16 chips of TPU v5e; launch/README.md has other settings
    time          20 minutes of fine-tuning, 40 minutes of trim-tuning: estimated from MACs, see launch/README.md
    dense         in the METER paper (arXiv 2111.02387), which was not at hand to be quoted
"""

from smarttrim_jax import HeadConfig, meter_base
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import ExperimentConfig, OptimizerConfig
from smarttrim_jax.recipes import Recipe, in_epochs, made_meter

RECIPE = Recipe(
    name="meter/snli_ve",
    fine_tuning=ExperimentConfig(
        model=meter_base(
            384,
            heads=(HeadConfig("snli", "classifier", 3),),
            scan=True,
            remat="full",
            dtype="bfloat16",
        ),
        task="snli",
        generator="rbg",
        init_from="meter_clip16_288_roberta_pretrain.ckpt",
        data=DataConfig(
            dataset="snli_ve",
            image_size=384,
            resize="resize_crop",
            augment="clip_randaug",
            tokenizer="roberta-base",
            text_length=50,
            batch_size=64,
        ),
        optimizer=OptimizerConfig(learning_rate=2e-6, head=10.0, cross_modal=5.0),
        schedule=in_epochs(5, examples=529_527, batch_size=64),
    ),
    fine_tuned="meter_clip16_288_roberta_snli.ckpt",
    tiny=made_meter(HeadConfig("snli", "classifier", 0)),
)
get_config = RECIPE.get_config
sweep = RECIPE.sweep
