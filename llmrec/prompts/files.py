"""Templates by name, from your own folder or packaged with the library, and files by their path."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from llmrec.errors import TemplateError
from llmrec.prompts.template import Template

SUFFIX = ".jinja"


def load_template(name: str | Path, folder: str | Path | None = None) -> Template:
    """A template by its bare name (`"item"`, `"history_zh"`), or any UTF-8 file by its path.

    A string is a path when it has a folder or a file ending in it. folder: your own; its templates replace packaged ones of the
    same name. Raises TemplateError when there is no such template, and as `Template`.
    """
    if path := _path(name):
        return read_template(path)
    own = None if folder is None else own_templates(folder).get(str(name))
    if own is not None:
        return read_template(own)
    if name not in packaged_templates():
        there = "" if folder is None else f" and none in {str(folder)!r}"
        raise TemplateError(
            f"no packaged template {name!r}{there}; there are {', '.join(map(repr, packaged_templates()))}. For a file of "
            "your own give its path"
        )
    file = _packaged().joinpath(f"{name}{SUFFIX}")
    return _checked(Template(_text(file.read_bytes()), f"prompts/{name}{SUFFIX}"), name)


def is_there(name: str | Path) -> bool:
    """Whether there is a packaged template of this name, or a file at this path; see `load_template`."""
    if path := _path(name):
        return path.is_file()
    return name in packaged_templates()


def read_template(file: Path) -> Template:
    """The template in a UTF-8 file called by its name. Raises TemplateError."""
    try:
        text = _text(file.read_bytes())
    except (OSError, ValueError) as error:  # not UTF-8, or no path at all
        raise TemplateError(
            f"cannot read the template file {str(file)!r}: {error}; packaged templates: "
            f"{', '.join(map(repr, packaged_templates()))}"
        ) from error
    return _checked(Template(text, str(file)), file.stem)


def packaged_templates() -> tuple[str, ...]:
    """Names of the templates that come with the library, sorted."""
    return tuple(sorted(one.name.removesuffix(SUFFIX) for one in _packaged().iterdir() if one.name.endswith(SUFFIX)))


def own_templates(folder: str | Path) -> dict[str, Path]:
    """The files of a folder of templates by their names, sorted. Raises TemplateError where there is no such folder."""
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise TemplateError(f"expected a folder of templates, got {str(folder)!r}, which is none; check the path")
    return {file.stem: file for file in sorted(place.glob(f"*{SUFFIX}"))}


def _path(name: str | Path) -> Path | None:
    """The path that `name` is; None where it is a bare name."""
    bare = isinstance(name, str) and Path(name).name == name and not Path(name).suffix
    return None if bare else Path(name).expanduser()


def _text(content: bytes) -> str:
    """UTF-8, without the mark that some editors put in front, and with line feeds as line ends."""
    return content.decode("utf-8-sig").replace("\r\n", "\n")


def _checked(template: Template, stem: str) -> Template:
    if template.name != stem:
        raise TemplateError(
            f"{template.source}: name: expected {stem!r}, as the file is called, got {template.name!r}; call both the same"
        )
    return template


def _packaged() -> Traversable:
    checkout = Path(__file__).parents[2]
    if (checkout / "pyproject.toml").is_file():  # the files beside this one, also where another checkout is installed
        return checkout / "prompts"
    return resources.files("llmrec.prompt_files")
