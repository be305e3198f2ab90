"""The Serve application of a pipeline's champion, for `serve deploy serve_apps/flights.yaml`.

    serve deploy serve_apps/flights.yaml

`raypipe run` and `raypipe deploy` do the same through Serve's REST API, with the features filled first.
"""

from collections.abc import Mapping

from ray import serve

from raypipe.flows.deploy import champion, recipe
from raypipe.serving.model import Served
from raypipe.serving.recipe import application
from raypipe.wiring import connect


def build(args: Mapping[str, str]) -> serve.Application:
    """Serve the champion of ``args["pipeline"]`` out of the workspace that the cluster was started with."""
    platform = connect()
    version = champion(platform, args["pipeline"])
    served = Served(folder=version.folder, digest=version.digest, version=version.version)
    return application(recipe(platform, version.name, served))
