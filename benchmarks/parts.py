"""What a training step of SDFlow in the pocket world is made of: `python -m benchmarks.parts`.

Each part is compiled and timed by itself, forward and gradient, on one batch of the config's size; the
whole step beside them. Parts in turn, several rounds, medians.
"""

import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.config import first_state, with_overrides
from sdflow_jax.files.roles import load_role
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.methods.sdflow.networks import TrainedNetworks, build_sdflow_optimizer
from sdflow_jax.methods.sdflow.step import make_sdflow_step
from sdflow_jax.methods.settings import read_settings
from sdflow_jax.models.synthesis import render

_ROUNDS = 9


def main() -> None:
    """Time every part and print a table."""
    device = jax.devices()[0]
    print(f"{len(jax.devices())} x {device.device_kind}, jax {jax.__version__}\n")
    print(table(measure(pocket_run())))


def pocket_run() -> RunSettings:
    """Of `configs/pocket.py`."""
    return read_settings(with_overrides("pocket.py", {}))


def table(rows: Sequence[tuple[str, float]]) -> str:
    """What `measure` found, in Markdown."""
    whole = rows[-1][1]
    lines = ["| part | ms | share of the step |", "|---|---|---|"]
    lines += [f"| {name} | {x * 1e3:.1f} | {x / whole:.0%} |" for name, x in rows]
    return "\n".join(lines)


def measure(run: RunSettings) -> list[tuple[str, float]]:
    """(part, median seconds), the whole step last."""
    parts = dict(_parts(run))
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(_ROUNDS + 1):
        if number == 0:
            print("compiling", file=sys.stderr, flush=True)
        for name, function in parts.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            if number:
                times[name].append(time.perf_counter() - start)
    return [(name, statistics.median(seconds)) for name, seconds in times.items()]


def _parts(run: RunSettings) -> Iterator[tuple[str, Callable[[], object]]]:
    settings, weights = run.own.losses, run.own.weights
    generator = load_role(run.networks, "generator")
    optimizer = build_sdflow_optimizer(
        run.own.training.optimizer, backbone_rate=run.own.backbone_rate
    )
    graphs, state = first_state(run, generator)
    batch = _batch(generator, run)
    networks: TrainedNetworks = nnx.merge(graphs.training, state["trained"])["networks"]
    flow, encoder = nnx.clone(networks.flow), nnx.clone(networks.semantic_encoder)
    w_plus, predictions = batch["w_plus"], batch["predictions"]
    image = to_signed(batch["image"])
    noise = jax.random.rademacher(jax.random.key(1), w_plus.shape, w_plus.dtype)

    @nnx.jit
    @nnx.grad
    def there(flow):
        found = flow.forward(w_plus, predictions, noise=noise)
        return jnp.mean(found.latents**2) + jnp.mean(found.delta_logp)

    @nnx.jit
    @nnx.grad
    def back(flow):
        return jnp.mean(flow.inverse(w_plus, predictions).latents ** 2)

    @nnx.jit
    @functools.partial(nnx.grad, argnums=1)
    def synthesis(generator, w_plus):
        resolution = settings.image_resolution or None
        return jnp.mean(render(generator, w_plus, resolution=resolution) ** 2)

    def read(encoder, image):
        return jnp.mean((encoder(image) - predictions) ** 2)

    faces = nnx.jit(nnx.grad(read))
    edited = nnx.jit(nnx.grad(read, argnums=(0, 1)))

    yield "flow to z with its density, and the gradient", lambda: there(flow)
    yield "flow back to W+, and the gradient", lambda: back(flow)
    yield "generator, and the gradient of W+", lambda: synthesis(generator, w_plus)
    yield "semantic encoder of the faces, and its gradient", lambda: faces(encoder, image)
    yield (
        "semantic encoder of the edited faces, and the gradient of the faces too",
        lambda: edited(encoder, image),
    )
    parameters = nnx.to_pure_dict(nnx.state(networks, nnx.Param))
    moments = optimizer.init(parameters)
    update = jax.jit(lambda g, m, p: optax.apply_updates(p, optimizer.update(g, m, p)[0]))
    yield "optimizer", lambda: update(parameters, moments, parameters)
    train_step = make_sdflow_step(graphs, generator, weights=weights, settings=settings)
    holder = {"state": jax.tree.map(jnp.copy, state)}  # consumed

    def step():
        holder["state"], measured = train_step(holder["state"], batch)
        return measured

    yield "the whole step", step


def _batch(generator: nnx.Module, run: RunSettings) -> dict[str, jax.Array]:
    """Faces of the generator, with random predictions."""
    size, keys = run.own.training.batch_size, jax.random.split(jax.random.key(0))
    w_plus = generator.map(jax.random.normal(keys[0], (size, generator.style_dim)))[:, None]
    pixels = render(generator, w_plus, resolution=run.data.image_size)
    image = jnp.clip((pixels + 1) * 127.5, 0, 255).astype(jnp.uint8)
    predictions = jax.random.uniform(keys[1], (size, len(run.attributes)))
    return {"image": image, "w_plus": w_plus, "predictions": predictions}


if __name__ == "__main__":
    main()
