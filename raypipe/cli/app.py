"""The program ``raypipe``, made of its commands."""

import inspect
from typing import Annotated

import typer
from rich.markup import escape

from raypipe.cli.commands import COMMANDS, KEYS, MACHINE, Command


def app(first: str = "") -> typer.Typer:
    """The program.

    Args:
        first: the first word that was typed. Where it names a command, only that is imported: help needs all of them.
    """
    made = typer.Typer(
        name="raypipe",
        help="The whole life of a machine-learning model on one Ray cluster: data, gate, features, training, service.",
        no_args_is_help=False,
        invoke_without_command=True,
        rich_markup_mode="rich",
        add_completion=False,
        epilog=_examples(
            "raypipe check examples/flights/pipeline.py",
            "raypipe run examples/flights/pipeline.py",
            "raypipe predict flights --carrier UA --flight 1545 --origin EWR …",
            "raypipe down",
        )
        + "\n\nSettings come from raypipe.toml and RAYPIPE_* variables; everything is kept in .raypipe/.",
    )
    made.callback()(_root)
    asked = [one for one in COMMANDS if one.name == first]
    for one in asked or COMMANDS:
        _add(made, one)
    if not asked:
        _add_keys(made)
    return made


def _examples(*lines: str) -> str:
    """The end of a command's help: what one types."""
    return "\n".join(["Examples:", *(f"[cyan]{escape(f'  {line} ')}[/cyan]" for line in lines)])


def _add(made: typer.Typer, one: Command) -> None:
    """Under its own name, with examples; the paragraphs of its docstring are its help."""
    function = one.load()
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    made.command(
        one.name,
        help="\n\n".join(escape(" ".join(paragraph.split())) for paragraph in paragraphs),
        short_help=paragraphs[0].replace("\n", " ").partition(":")[0].rstrip(".") + ".",
        rich_help_panel=one.panel,
        epilog=_examples(*one.examples),
        context_settings=dict(one.settings),
    )(function)


def _add_keys(made: typer.Typer) -> None:
    group = typer.Typer(rich_markup_mode="rich", no_args_is_help=True)
    for one in KEYS:
        group.command(one.name.rstrip("_"))(one.load())
    made.add_typer(
        group,
        name="keys",
        help="Say who may ask the service: add, list and revoke keys. Each takes --json .",
        short_help="Say who may ask the service.",
        rich_help_panel=MACHINE,
        epilog=_examples(
            "raypipe keys add airline --scope predict --scope feedback --rate 100",
            "raypipe keys list",
            "raypipe keys revoke 1f0c22ab --after 1d",
        ),
    )


def _version(asked: bool) -> None:
    if asked:
        from raypipe import __version__

        typer.echo(f"raypipe {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)
