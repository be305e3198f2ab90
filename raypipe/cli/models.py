"""``raypipe predict`` and ``raypipe models``: a model in service, and the versions it has had."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from raypipe.cli.batch import predict_batch
from raypipe.cli.kept import Last, older
from raypipe.cli.output import AsJson, Output
from raypipe.errors import RequestError

if TYPE_CHECKING:
    from raypipe.client import Prediction

Name = Annotated[str, typer.Argument(metavar="NAME", help="The pipeline's name, such as flights.", show_default=False)]
#: So many versions are shown: of one pipeline, and of each of all.
ALONE, EACH = 50, 3


def predict(
    name: Name,
    fields: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FIELD=VALUE", show_default=False, help="The fields of the request; --FIELD VALUE does as well."
        ),
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option(
            "--json-file",
            metavar="FILE",
            show_default=False,
            help="Ask about the rows of a JSON file (one object, a list, or one object a line; - is standard input).",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            metavar="FILE|TABLE",
            show_default=False,
            help="Score a whole Parquet, CSV or JSON-lines file, or a table of the pipeline, into the lake.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="DATE", show_default=False, help="With --batch: leave out rows that ask about earlier."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Ask the running service: one question on the command line, or many from a file.

    With --batch no service is asked: the champion scores on the cluster, with the stored features, and its answers are
    appended to the table batches.NAME. After an interruption the same command goes on from where it stopped.
    """
    from raypipe.cli.fields import pairs, rows_of, typed
    from raypipe.client import Client

    out = Output(json)
    if batch is not None:
        if json_file is not None or fields:
            raise RequestError("a batch and questions are given", where="--batch", cure="Give either of them")
        predict_batch(name, batch, since, out)
        return
    if since is not None:
        raise RequestError("has no meaning without a batch", where="--since", cure="Give --batch too")
    if json_file is not None and fields:
        raise RequestError("a file and fields are given", where="--json-file", cure="Give either of them")
    with Client() as client:
        if json_file is not None:
            rows, many = rows_of(json_file)
        else:
            types = {field.name: field.json_type for field in client.served(name).fields}
            rows, many = [typed(pairs(fields or []), types)], False
        answers = client.predict_many(name, rows) if many else [client.predict(name, **rows[0])]
    if not json:
        out.say(_table(answers) if many else _sentence(answers[0]))
    out.result(answers if many else answers[0])


def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The pipeline's name. Default: every pipeline's.", show_default=False),
    ] = None,
    last: Last = None,
    json: AsJson = False,
) -> None:
    """List the registered versions of a pipeline's model, with their metrics on the holdout; or those of all.

    The newest 50 are shown, or of each pipeline the newest 3.
    """
    from raypipe.cli.kept import kept, require_known
    from raypipe.cli.tables import model_document, models_note, models_table

    out = Output(json)
    with kept() as found:
        names = found.registry.names()
        if name is not None:
            require_known(found.registry, name)
        by_name = {one: found.registry.versions(one) for one in (names if name is None else [name])}
    if not json:
        for one, versions in by_name.items():
            shown = versions[-(last or (EACH if name is None else ALONE)) :]
            out.say(*([Text(one, "bold")] if name is None else []), models_table(shown), *models_note(shown))
            out.say(*older(len(versions) - len(shown)))
        if not by_name:
            out.say("No model is registered yet. Make one with `raypipe run FILE`")
        return
    listed = [(one, version) for one, versions in by_name.items() for version in versions]
    out.result([({"name": one} if name is None else {}) | model_document(version) for one, version in listed])


def _sentence(answer: "Prediction") -> Text:
    known = f", features as of {answer.features_as_of}" if answer.features_as_of else ""
    about = f"   {answer.model} version {answer.version}{known}   request {answer.request_id}"
    return Text.assemble((_told(answer), "bold"), (about, "dim"))


def _told(answer: "Prediction") -> str:
    """The answer in a few characters: a probability, a class with its probability, or a number."""
    if answer.value is not None:
        return f"{answer.value:.7g}"
    shown = f"{answer.probability:.1%}"
    return f"{answer.label} {shown}" if isinstance(answer.label, str) else shown


def _table(answers: "list[Prediction]") -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("row", "answer", "version"):
        table.add_column(heading, justify="right")
    table.add_column("request")
    for number, answer in enumerate(answers, 1):
        table.add_row(str(number), _told(answer), str(answer.version), answer.request_id)
    return table
