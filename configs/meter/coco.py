r"""Retrieval on COCO with METER at 384 pixels; official settings.

    python -m smarttrim_jax.train --config=meter/coco:finetune --workdir=runs/meter_coco \
        --config.data.source=coco
    python -m smarttrim_jax.train --config=meter/coco:trim,speedup=2.5 --workdir=runs/meter_coco_2.5 \
        --config.data.source=coco --config.init_from=runs/meter_coco

Both look in the working folder for METER's weights (github.com/zdou0830/METER, releases) and for `roberta-base`, a
folder with RoBERTa's vocab.json and merges.txt. Without `init_from`, trim-tuning starts from METER's own fine-tuned
weights. `:tiny` trim-tunes a tiny model on a dozen made examples; `sweep` tries 1.5, 2, 2.5 and 3, or what
`:trim,speedup=2,sweep=ablations` says.

Steps are counted in captions, as METER does: an epoch of it reads each image five times. Wrong texts come from the
batch, see `tasks.ranking.Ranking`; every text is judged beside every image in evaluation, 125 million pairs,
unless `--config.evaluation.examples=1000` takes a part of the images.

    hardware      16 chips of TPU v5e; launch/README.md has other settings
    time          5.5 hours of fine-tuning, 11 hours of trim-tuning: estimated from MACs, see launch/README.md
    dense         76.16 % text recall@1, 57.08 % image recall@1 (beta.hyper.ai on the METER paper)
"""

from smarttrim_jax import HeadConfig, meter_base
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import ExperimentConfig, OptimizerConfig
from smarttrim_jax.recipes import Recipe, in_epochs, made_meter

RECIPE = Recipe(
    name="meter/coco",
    fine_tuning=ExperimentConfig(
        model=meter_base(
            384,
            heads=(HeadConfig("rank", "linear", 1),),
            scan=True,
            remat="full",
            dtype="bfloat16",
        ),
        task="rank",
        generator="rbg",
        init_from="meter_clip16_288_roberta_pretrain.ckpt",
        data=DataConfig(
            dataset="coco",
            image_size=384,
            resize="resize_crop",
            augment="clip_randaug",
            tokenizer="roberta-base",
            text_length=40,
            batch_size=64,  # so many fit 16 chips of TPU v5e; eight make an update
        ),
        # The new head learns at the backbone's rate: `set_schedule` of METER's `meter_utils.py` does not name it.
        optimizer=OptimizerConfig(learning_rate=5e-6, cross_modal=5.0, accumulate=8),
        schedule=in_epochs(10, examples=566_747, batch_size=512, accumulate=8),
    ),
    fine_tuned="meter_clip16_288_roberta_coco.ckpt",
    tiny=made_meter(HeadConfig("rank", "linear", 1)),
)
get_config = RECIPE.get_config
sweep = RECIPE.sweep
