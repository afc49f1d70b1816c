"""Fine-tune a scene's mix by a few gradient steps on the events of its support users.

    weights_0 = mix of all known scenes,    weights_k = weights_{k-1} - RATE * gradient, of length 1 at most

The known scenes' mix is where the steps begin, and meta-validation on scenes left out says from how many support users on they
are worth it. MAML's inner loop (Finn et al., arXiv 1703.03400); its outer loop gained nothing here, see training/LOG.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmrec.scenes.mix import Mix, slopes
from llmrec.scenes.worlds import Episode

STEPS, RATE = 20, 0.1


def stepped(mix: Mix, own: Episode, count: int = STEPS, rate: float = RATE) -> Mix:
    """The mix after `count` steps on all of a scene's own events at once; as it was where there are none."""
    weights = [weight.copy() for weight in mix.weights]
    inputs = mix.ready(own.columns(mix.names))
    for _ in range(count if len(inputs) else 0):
        found = slopes(weights, inputs, own.offset)
        length = float(np.sqrt(sum((gradient**2).sum() for gradient in found)))
        for weight, gradient in zip(weights, found, strict=True):
            weight -= rate / max(length, 1.0) * gradient
    line, bend, at, out = weights
    return replace(mix, line=line, bend=bend, at=at, out=out)
