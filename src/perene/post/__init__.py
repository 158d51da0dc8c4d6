"""Ready-made steps between a model's output and its answer: ``late.post(post.clip(0.01, 0.99))``.

Numbers: ``clip``, ``round``, ``logistic``, ``threshold``. Rankings: ``boost``, ``demote``, ``rerank``, ``diversify``,
``top``. Both: ``block`` and ``filter``. A step is named like its function; ``name=`` gives it another name. What is
wrong with a step is a mistake of the model's declaration, with its line; nothing raises here.
"""

from perene.post.moving import boost, demote
from perene.post.numbers import clip, logistic, round, threshold
from perene.post.order import diversify, rerank, top
from perene.post.removal import block, filter

__all__ = [
    "block", "boost", "clip", "demote", "diversify", "filter", "logistic", "rerank", "round", "threshold", "top",
]  # fmt: skip
