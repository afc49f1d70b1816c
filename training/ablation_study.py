"""The demonstration with every ablation of the adapter: zero steps, another user's support, a random start, plain training at
equal compute, and LoRA for a held-out category. Results stand in training/results/ablations.json.

python training/ablation_study.py --out runs/ablations       # eight minutes on two cores; --quick in two
"""

from __future__ import annotations

from pathlib import Path

import click

from studies.ablations.run import run_study


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/ablations"), show_default=True)
@click.option("--quick", is_flag=True, help="Train for moments only: shows that everything runs, not how good it gets.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Train for about this long.")
def main(out: Path, quick: bool, seed: int, minutes: float | None) -> None:
    """Measure the ablations of the adapter on the Complete Journey data; writes report.json and methods.png into --out."""
    raise SystemExit(run_study(out=out, events=None, items=None, quick=quick, seed=seed, minutes=minutes))


if __name__ == "__main__":
    main()
