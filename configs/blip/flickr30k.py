r"""Retrieval on Flickr30k with BLIP at 384 pixels; official settings (`configs/retrieval_flickr.yaml`).

    python -m smarttrim_jax.train --config=blip/flickr30k:finetune --workdir=runs/blip_flickr30k \
        --config.data.source=flickr30k
    python -m smarttrim_jax.train --config=blip/flickr30k:trim,speedup=2.5 --workdir=runs/blip_flickr30k_2.5 \
        --config.data.source=flickr30k --config.init_from=runs/blip_flickr30k

Both look in the working folder for BLIP's weights (github.com/salesforce/BLIP, "checkpoints") and for BERT's words,
`bert-base-uncased/vocab.txt`. Without `init_from`, trim-tuning starts from BLIP's own fine-tuned weights. `:tiny`
trim-tunes a tiny model on a dozen made examples; `sweep` tries 1.5, 2, 2.5 and 3, or what
`:trim,speedup=2,sweep=ablations` says.

Steps are counted in captions, as BLIP does: an epoch of it reads each image five times.

    hardware      16 chips of TPU v5e; launch/README.md has other settings
    time          8 minutes of fine-tuning, 14 minutes of trim-tuning: estimated from MACs, see launch/README.md
    dense         96.8 % text recall@1, 86.9 % image recall@1, measured by the authors of UPop
"""

from smarttrim_jax import blip_base, blip_tiny
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, OptimizerConfig
from smarttrim_jax.objectives.retrieval import RetrievalConfig
from smarttrim_jax.recipes import Recipe, in_epochs

RECIPE = Recipe(
    name="blip/flickr30k",
    fine_tuning=ExperimentConfig(
        model=blip_base("retrieval", scan=True, remat="full", dtype="bfloat16"),
        task="retrieval",
        seed=42,
        generator="rbg",
        init_from="model_base.pth",
        data=DataConfig(
            dataset="flickr30k",
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
        schedule=in_epochs(6, examples=145_000, batch_size=256),
        evaluation=EvaluationConfig(metrics=("reranked_recall_128",)),
    ),
    fine_tuned="model_base_retrieval_flickr.pth",
    tiny=blip_tiny("retrieval", 32),
)
get_config = RECIPE.get_config
sweep = RECIPE.sweep
