r"""VQA v2 with BLIP at 480 pixels: answers ranked by a decoder; official settings (`configs/vqa.yaml`).

    python -m smarttrim_jax.train --config=blip/vqav2:finetune --workdir=runs/blip_vqav2 \
        --config.data.source=vqa
    python -m smarttrim_jax.train --config=blip/vqav2:trim,speedup=2.5 --workdir=runs/blip_vqav2_2.5 \
        --config.data.source=vqa --config.init_from=runs/blip_vqav2
    python -m smarttrim_jax.evaluate --workdir=runs/blip_vqav2_2.5 --submission=answers.json

Both look in the working folder for BLIP's weights (github.com/salesforce/BLIP, "checkpoints") and for BERT's words,
`bert-base-uncased/vocab.txt`. Without `init_from`, trim-tuning starts from BLIP's own fine-tuned weights. `:tiny`
trim-tunes a tiny model on a dozen made examples; `sweep` tries 1.5, 2, 2.5 and 3, or what
`:trim,speedup=2,sweep=ablations` says.

As BLIP, it trains on train, val and Visual Genome, and answers test-dev, whose answers are secret: the server scores
them. To train on train and measure on val, add `--config.data.options=rule=blip`. The epochs are those of VQA: raise
`schedule.full_steps` by the share of Visual Genome's questions for BLIP's own.

    hardware      16 chips of TPU v5e; launch/README.md has other settings
    time          1 hour of fine-tuning, 2 hours of trim-tuning: estimated from MACs, see launch/README.md
    dense         78.3 % on test-dev (wizwand.com on the BLIP paper), 77.5 % measured by the authors of UPop
"""

from smarttrim_jax import blip_base, blip_tiny
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig
from smarttrim_jax.recipes import Recipe, in_epochs

RECIPE = Recipe(
    name="blip/vqav2",
    fine_tuning=ExperimentConfig(
        model=blip_base("vqa", scan=True, remat="full", dtype="bfloat16"),
        task="vqa",
        seed=42,
        generator="rbg",
        init_from="model_base_capfilt_large.pth",
        data=DataConfig(
            dataset="vqav2",
            options="rule=blip,train=train+val,test=test-dev,visual_genome",
            image_size=480,
            augment="blip",
            tokenizer="bert-base-uncased/vocab.txt",
            text_length=35,
            start="[ENC]",
            text_cleaning="blip_question",
            max_words=50,
            batch_size=256,
        ),
        optimizer=OptimizerConfig(
            learning_rate=2e-5, b2=0.999, weight_decay=0.05, schedule="cosine", warmup_fraction=0.0
        ),
        schedule=in_epochs(10, examples=658_111, batch_size=256),
        evaluation=EvaluationConfig(metrics=("vqa_accuracy",)),
    ),
    fine_tuned="model_base_vqa_capfilt_large.pth",
    tiny=blip_tiny("vqa", 32),
)
get_config = RECIPE.get_config
sweep = RECIPE.sweep
