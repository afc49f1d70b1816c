"""The published algorithms, each as settings of the one inner and the one outer loop.

Each function returns the first and the last argument of `meta_train`:

    init, settings = maml_pp(start, steps=3, rate=0.2)
    learned = meta_train(init, episodes, settings)

| algorithm | differentiates the inner gradients | learned rates | adapted | query loss |
|---|---|---|---|---|
| FOMAML | no | none | all | after the last step |
| MAML | yes | none | all | after the last step |
| MAML++ | yes | per layer and step | all | after every step, then the last |
| ANIL | yes | none | the head | after the last step |
| Meta-SGD | yes | per number | all | after the last step |
| CAVIA | yes | none | the context, whose start is not learned | after the last step |

Common to all, unlike in the papers: `max_grad_norm` bounds each user's inner gradient (`math.inf` for none), and the
outer loop bounds its own. Any of them becomes first order by `replace(settings, first_order=True)`. Not taken from MAML++:
batch norm per step (there is none here) and first order at the beginning; for that, call `meta_train` twice."""

from __future__ import annotations

from dataclasses import replace

import torch

from llmrec.meta.inner import Initialisation, V, initialisation
from llmrec.meta.outer import OuterSettings

DEFAULT = OuterSettings()
Recipe = tuple[Initialisation[V], OuterSettings]


def maml(start: V, steps: int, rate: float, settings: OuterSettings = DEFAULT, max_grad_norm: float = 1.0) -> Recipe[V]:
    """Finn, Abbeel, Levine: Model-agnostic meta-learning, arXiv 1703.03400, algorithm 1."""
    fixed = replace(settings, first_order=False, inner_lr_learning_rate=0.0, anneal=0.0)
    return initialisation(start, steps, rate, max_grad_norm=max_grad_norm), fixed


def fomaml(start: V, steps: int, rate: float, settings: OuterSettings = DEFAULT, max_grad_norm: float = 1.0) -> Recipe[V]:
    """First-order MAML, arXiv 1703.03400, section 5.2: the inner gradients count as constants."""
    init, exact = maml(start, steps, rate, settings, max_grad_norm)
    return init, replace(exact, first_order=True)


def maml_pp(start: V, steps: int, rate: float, settings: OuterSettings = DEFAULT, max_grad_norm: float = 1.0) -> Recipe[V]:
    """Antoniou, Edwards, Storkey: How to train your MAML, arXiv 1810.09502: the loss at every step, annealed to the last, and a
    learned rate per layer and step. `settings.anneal` and `settings.inner_lr_learning_rate` set how fast."""
    return initialisation(start, steps, rate, max_grad_norm=max_grad_norm), replace(settings, first_order=False)


def anil(
    start: V, steps: int, rate: float, head: tuple[bool, ...], settings: OuterSettings = DEFAULT, max_grad_norm: float = 1.0
) -> Recipe[V]:
    """Raghu et al.: Rapid learning or feature reuse?, arXiv 1909.09157: adapting moves only the head, the outer loop all.

    head: for each of `start.leaves()`, whether it belongs to the head.
    """
    init, settings = maml(start, steps, rate, settings, max_grad_norm)
    return replace(init, inner=head), settings


def meta_sgd(start: V, steps: int, rate: float, settings: OuterSettings = DEFAULT, max_grad_norm: float = 1.0) -> Recipe[V]:
    """Li et al.: Meta-SGD, arXiv 1707.09835 (there with one step): a learned rate per number, which may turn negative.

    A number's rate is `rate` times a learned factor that starts at 1.
    """
    factor = tuple(torch.ones_like(leaf) for leaf in start.leaves())
    init = replace(initialisation(start, steps, rate, max_grad_norm=max_grad_norm), factor=factor)
    return init, replace(settings, first_order=False, anneal=0.0)


def cavia(
    start: V, steps: int, rate: float, context: tuple[bool, ...], settings: OuterSettings = DEFAULT, max_grad_norm: float = 1.0
) -> Recipe[V]:
    """Zintgraf et al.: Fast context adaptation via meta-learning, arXiv 1810.03642: adapting moves the context, the outer loop
    all else; the context always starts at its value in `start`. To first order the shared weights would get no gradient through
    the step.

    context: for each of `start.leaves()`, whether it is the context.
    """
    init, settings = maml(start, steps, rate, settings, max_grad_norm)
    return replace(init, inner=context, outer=tuple(not c for c in context)), settings
