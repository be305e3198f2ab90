"""``raypipe deploy FILE --to REGION``, and ``raypipe receive``, which each region runs for it."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.text import Text

from raypipe.cli.kept import kept
from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import watch
from raypipe.errors import SettingsError, did_you_mean


def deploy_to(name: str, to: list[str], out: Output) -> None:
    """Let the champion of a pipeline answer in several regions: in all of them, or in none.

    Raises:
        SettingsError: a region is not known, or there is no key to sign with.
        RegistryError: there is no champion.
        ServiceError: a region refused; all are back where they were.
    """
    from raypipe.settings import load_settings  # 0.2 s, which no other command pays for

    settings = load_settings()
    urls = {region: _url(settings.regions, region) for region in to}
    if not settings.audit_key:
        cure = "Make keys with `raypipe audit keys`; each region needs the public one as `audit_public_key`"
        raise SettingsError("is not set, so nothing can be signed", where="audit_key", cure=cure)
    from raypipe.flows.regions import RemoteRegion
    from raypipe.flows.regions import deploy_to as send
    from raypipe.ledger.checkpoint import private_key
    from raypipe.registry.parcel import pack

    key, progress = private_key(settings.audit_key), watch(out.console)
    with TemporaryDirectory(prefix="raypipe-parcel-") as folder, kept() as found:
        champion = found.registry.get(name, "champion")
        parcel = pack(champion, Path(folder) / "parcel", key)
        regions = {region: RemoteRegion(region, url) for region, url in urls.items()}
        done = send(regions, parcel, progress)
    for region, version in done.versions.items():
        out.say(Text.assemble(("✓", "green"), f" {region}: answers with {name}/{version} ({done.digest[:12]})"))
    out.result(done)


def receive(
    parcel: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `raypipe deploy --to` sent.")],
    serve: Annotated[
        bool, typer.Option("--serve", metavar="", help="Let it answer, too; else it is checked and registered.")
    ] = False,
    back: Annotated[
        bool, typer.Option("--back", metavar="", help="Let the champion before it answer again, if it is champion.")
    ] = False,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="For the record.")] = "sent by another cluster",
    json: AsJson = False,
) -> None:
    """Take a signed model of another cluster in: what `raypipe deploy --to` runs in each region.

    Its signature must be of `audit_public_key`, and its files those that were signed.
    """
    from raypipe.settings import load_settings

    out, settings = Output(json), load_settings()
    if not settings.audit_public_key:
        cure = "Set it to the public key of the cluster that sends, as env:NAME or file:/path"
        raise SettingsError("is not set, so no signature can be checked", where="audit_public_key", cure=cure)
    from raypipe.cli.opened import opened
    from raypipe.flows.receive import go_back, let_answer, take_in

    progress, key = watch(out.console), settings.audit_public_key
    with opened(progress, "raypipe: receive") as platform:
        if back:
            received = go_back(platform, parcel, key, why, progress)
        else:
            received = take_in(platform, parcel, key)
            if serve:
                received = let_answer(platform, received, why, progress)
    how = "answers" if received.serving else "is registered"
    out.say(f"{received.name}/{received.version} {how} ({received.digest[:12]})")
    out.result(received)


def _url(known: Mapping[str, str], region: str) -> str:
    if region not in known:
        guess = did_you_mean(region, known)
        cure = guess or f"Known are: {', '.join(known) or 'none; write [regions] into raypipe.toml'}"
        raise SettingsError(f"`{region}` is no region", where="--to", cure=cure)
    return known[region]
