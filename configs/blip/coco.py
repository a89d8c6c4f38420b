r"""Retrieval on COCO with BLIP at 384 pixels; official settings (`configs/retrieval_coco.yaml`).

    python -m smarttrim_jax.train --config=blip/coco:finetune --workdir=runs/blip_coco \
        --config.data.source=coco
    python -m smarttrim_jax.train --config=blip/coco:trim,speedup=2.5 --workdir=runs/blip_coco_2.5 \
        --config.data.source=coco --config.init_from=runs/blip_coco

Both look in the working folder for BLIP's weights (github.com/salesforce/BLIP, "checkpoints") and for BERT's words,
`bert-base-uncased/vocab.txt`. Without `init_from`, trim-tuning starts from BLIP's own fine-tuned weights. `:tiny`
trim-tunes a tiny model on a dozen made examples; `sweep` tries 1.5, 2, 2.5 and 3, or what
`:trim,speedup=2,sweep=ablations` says.

Steps are counted in captions, as BLIP does: an epoch of it reads each image five times. Evaluation
holds the tokens of all images in memory, 18 GB.

    hardware      16 chips of TPU v5e; launch/README.md has other settings
    time          30 minutes of fine-tuning, 1 hour of trim-tuning: estimated from MACs, see launch/README.md
    dense         81.9 % text recall@1, 64.3 % image recall@1, measured by the authors of UPop
"""

from smarttrim_jax import blip_base, blip_tiny
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig
from smarttrim_jax.objectives.retrieval import RetrievalConfig
from smarttrim_jax.recipes import Recipe, in_epochs

RECIPE = Recipe(
    name="blip/coco",
    fine_tuning=ExperimentConfig(
        model=blip_base("retrieval", scan=True, remat="full", dtype="bfloat16"),
        task="retrieval",
        seed=42,
        generator="rbg",
        init_from="model_base.pth",
        data=DataConfig(
            dataset="coco",
            image_size=384,
            augment="blip",
            tokenizer="bert-base-uncased/vocab.txt",
            text_length=35,
            start="[ENC]",
            text_cleaning="blip_caption",
            max_words=30,
            batch_size=256,
        ),
        retrieval=RetrievalConfig(alpha_fraction=1 / 6),
        optimizer=OptimizerConfig(
            learning_rate=1e-5, b2=0.999, weight_decay=0.05, schedule="cosine", warmup_fraction=0.0
        ),
        schedule=in_epochs(6, examples=566_747, batch_size=256),
        evaluation=EvaluationConfig(metrics=("reranked_recall",)),
    ),
    fine_tuned="model_base_retrieval_coco.pth",
    tiny=blip_tiny("retrieval", 32),
)
get_config = RECIPE.get_config
sweep = RECIPE.sweep
