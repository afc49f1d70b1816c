"""`--config FILE.yaml` of every command: its options out of a file; what is typed beside it wins."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import click

NOT_IN_FILES = ("config", "help", "version")


def add_config(command: click.Command) -> None:
    """Give a command the option `--config`."""
    command.params.append(
        click.Option(
            ["--config"],
            metavar="FILE.yaml",
            is_eager=True,  # before the options that it gives values to
            expose_value=False,
            callback=_read,
            help="Options from a YAML file, such as `k: 20`. Typed options override it.",
        )
    )


def _read(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
    """Make the values of the file the defaults of the command.

    Raises click.UsageError, which names the file, for a file that is no YAML mapping, for an unknown key, and for values that
    the option would not take if they were typed.
    """
    if path is None:
        return
    from llmrec.errors import DataError
    from llmrec.yaml_file import yaml_values

    try:
        file, values = yaml_values(path, "options", "option", as_text=True)  # 007 is no number
    except DataError as error:
        raise click.UsageError(str(error), ctx) from error
    if not isinstance(values, Mapping):
        raise click.UsageError(f"{file}: expected options, such as `quiet: true`, got {values!r}", ctx)
    known = {key: one for one in ctx.command.params for key in _keys(one) if key not in NOT_IN_FILES}
    ctx.default_map = {}
    for key, value in values.items():
        one = known.get(str(key).replace("_", "-"))
        if one is None:
            near = get_close_matches(str(key).replace("_", "-"), known, 1, 0.5)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise click.UsageError(f"{file}: {key!r} is no option of `{ctx.command_path}`; {meant}", ctx)
        if one.name in ctx.default_map:
            raise click.UsageError(f"{file}: {key} is given twice; delete one of the two", ctx)
        try:
            typed = _as_typed(ctx, one, value)
        except click.BadParameter as error:
            raise click.UsageError(f"{file}: {key}: {error.message}", ctx) from error
        if typed is not None:
            ctx.default_map[str(one.name)] = typed


def _keys(param: click.Parameter) -> list[str]:
    """How a file names an option, as `on-bad-rows` for --on-bad-rows, or an argument."""
    if isinstance(param, click.Argument):
        return [str(param.name).replace("_", "-")]
    return [name.removeprefix("--") for name in param.opts if name.startswith("--")]


def _as_typed(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """A value of the file as it would be typed; None for a flag that is left out. Raises click.BadParameter for a value that
    the option does not take."""
    several = value if isinstance(value, list) else [value]
    if not several or not all(isinstance(one, str) and one for one in several):
        raise click.BadParameter(f"expected text, a number, true or false, got {value!r}.")
    many = getattr(param, "multiple", False) or param.nargs == -1
    if len(several) > 1 and not many and not isinstance(param.type, click.types.StringParamType):
        raise click.BadParameter(f"expected one value, got {value!r}.")
    if isinstance(param, click.Option) and param.is_flag:
        said = click.BOOL.convert(several[0], param, ctx)
        if isinstance(param.type, click.types.BoolParamType):
            return said
        return param.flag_value if said else None  # --json says --format json
    typed = tuple(several) if many else ",".join(several)  # the latter as in --users 17850,13047
    param.type_cast_value(ctx, typed)
    return typed
