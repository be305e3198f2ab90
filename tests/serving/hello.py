"""An application that has nothing to do with raypipe."""

from ray import serve


def build(args: dict[str, str]) -> serve.Application:
    return serve.deployment(Hello).options(ray_actor_options={"num_cpus": 0}).bind(args["to"])


class Hello:
    def __init__(self, to: str) -> None:
        self.to = to

    def __call__(self) -> str:
        return f"hello {self.to}"
