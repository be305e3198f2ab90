"""``raypipe materialize``: features for whoever asks now."""

from functools import partial
from typing import Annotated

import typer

from raypipe.cli.definition import PipelineFile, read
from raypipe.cli.life import AsOf, moment_of
from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import watch

Anew = Annotated[
    bool, typer.Option("--anew", help="Load everything again, beside what is in use, instead of what is new.")
]


def materialize(file: PipelineFile, as_of: AsOf = None, anew: Anew = False, json: AsJson = False) -> None:
    """Bring the online store up to date: what the published tables gained since, late and corrected rows included.

    Only entities that gained events are touched, all in one step; the same again changes nothing. What is served goes
    on answering, from the state before or from the new one.
    """
    pipeline, moment, out = read(file), moment_of(as_of), Output(json)
    # Seconds of imports: a faulty definition is told before them.
    from raypipe import flows
    from raypipe.cli.opened import opened
    from raypipe.flows.materialize import materialize as work
    from raypipe.flows.materialize import materialize_line
    from raypipe.flows.remote import on_cluster

    progress = watch(out.console)
    with opened(progress, f"raypipe: {pipeline.name}") as platform:
        until = flows.as_of(pipeline, moment, platform.clock.now())
        task = partial(work, pipeline=pipeline, as_of=until, anew=anew)
        record = on_cluster(f"{pipeline.name}: materialize", task, platform, progress)
    out.say(f"{pipeline.name}: {materialize_line(record)}")
    out.result(record)
