"""The smallest application there is, as the serving room builds them: raw ASGI in Serve's ingress."""

from ray import serve


class Echo:
    """Answers with the path it was asked for."""

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": scope["path"].encode()})


@serve.deployment(ray_actor_options={"num_cpus": 0.1}, max_surge_percent=100)
@serve.ingress(Echo())
class Front:
    pass


app = Front.bind()
