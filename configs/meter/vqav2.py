r"""VQA v2 with METER at 576 pixels: one of 3,129 answers; official settings (`task_finetune_vqa_clip_bert`).

    python -m smarttrim_jax.train --config=meter/vqav2:finetune --workdir=runs/meter_vqav2 \
        --config.data.source=vqa
    python -m smarttrim_jax.train --config=meter/vqav2:trim,speedup=2.5 --workdir=runs/meter_vqav2_2.5 \
        --config.data.source=vqa --config.init_from=runs/meter_vqav2
    python -m smarttrim_jax.evaluate --workdir=runs/meter_vqav2_2.5 --submission=answers.json

Both look in the working folder for METER's weights (github.com/zdou0830/METER, releases) and for `roberta-base`, a
folder with RoBERTa's vocab.json and merges.txt. Without `init_from`, trim-tuning starts from METER's own fine-tuned
weights. `:tiny` trim-tunes a tiny model on a dozen made examples; `sweep` tries 1.5, 2, 2.5 and 3, or what
`:trim,speedup=2,sweep=ablations` says.

As METER, it trains on train and val, and answers test-dev, whose answers are secret: the server scores them. To train
on train and measure on val, add `--config.data.options=rule=meter`.

    hardware      16 chips of TPU v5e; launch/README.md has other settings
    time          2 hours of fine-tuning, 4 hours of trim-tuning: estimated from MACs, see launch/README.md
    dense         77.68 % on test-dev (zdou0830/METER, issue 11), 77.64 % on test-std (abstract of the paper)
"""

from smarttrim_jax import HeadConfig, meter_base
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig
from smarttrim_jax.objectives.total import ObjectiveConfig
from smarttrim_jax.recipes import Recipe, in_epochs, made_meter

RECIPE = Recipe(
    name="meter/vqav2",
    fine_tuning=ExperimentConfig(
        model=meter_base(
            576,
            heads=(HeadConfig("vqa", "classifier", 3129),),
            scan=True,
            remat="full",
            dtype="bfloat16",
        ),
        task="vqa",
        generator="rbg",
        init_from="meter_clip16_288_roberta_pretrain.ckpt",
        data=DataConfig(
            dataset="vqav2",
            options="rule=meter,train=train+val,test=test-dev",
            image_size=576,
            resize="resize_crop",
            augment="clip_randaug",
            tokenizer="roberta-base",
            text_length=50,
            batch_size=256,  # so many fit 16 chips of TPU v5e; two make an update
        ),
        objective=ObjectiveConfig(loss="sigmoid"),
        optimizer=OptimizerConfig(learning_rate=5e-6, head=50.0, cross_modal=5.0, accumulate=2),
        schedule=in_epochs(10, examples=658_111, batch_size=512, accumulate=2),
        evaluation=EvaluationConfig(metrics=("vqa_accuracy",)),
    ),
    fine_tuned="meter_clip16_288_roberta_vqa.ckpt",
    tiny=made_meter(HeadConfig("vqa", "classifier", 0)),
)
get_config = RECIPE.get_config
sweep = RECIPE.sweep
