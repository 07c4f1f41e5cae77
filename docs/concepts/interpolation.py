"""What interpolation.md shows: straight ways from one picture to another, in pixels and in three latent spaces."""

from __future__ import annotations

import torch
from drawing import BLUE, GREY, ORANGE, PURPLE, fill, markdown, picture_rows, save, store
from scenes import held_out, run
from torch import Tensor

from vqkit.autoencoders import Autoencoder

PAIRS, COARSE, FINE = 10, 32, 256
QUANTIZED = "VQ-VAE: z_e, then quantized"
COLOURS = {"AE": ORANGE, "VAE, linear": PURPLE, QUANTIZED: BLUE, "VQ-VAE: z_q, not quantized": GREY}


def linear(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """[1, *shape] twice -> [steps + 1, *shape]: points of the straight line, both ends included."""
    t = torch.linspace(0, 1, steps + 1).view(-1, *(1,) * (start.ndim - 1))
    return start + t * (end - start)


def spherical(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """The same along a great circle, with lengths between those of the ends (Shoemake 1985)."""
    angle = torch.acos((start * end).sum() / start.norm() / end.norm())
    t = torch.linspace(0, 1, steps + 1).view(-1, *(1,) * (start.ndim - 1))
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)


def paths(start: Tensor, end: Tensor, steps: int) -> dict[str, Tensor]:
    """Between two pictures uint8 [1, C, H, W], by each way: frames [steps + 1, C, H, W] from 0 to 1."""
    frames = {"pixels": linear(start.float(), end.float(), steps) / 255}
    for name, model in (("AE", run("AE").tokenizer), ("VAE, linear", run("VAE").tokenizer)):
        frames[name] = decoded(model, linear(z(model, start), z(model, end), steps))
    frames["VAE, spherical"] = decoded(model, spherical(z(model, start), z(model, end), steps))
    model = run("VQ-VAE").tokenizer
    frames[QUANTIZED] = decoded(model, model.bottlenecks[0](linear(z_e(model, start), z_e(model, end), steps)).z)
    frames["VQ-VAE: z_q, not quantized"] = decoded(model, linear(z(model, start), z(model, end), steps))
    return frames


def z(model: Autoencoder, x: Tensor) -> Tensor:
    """Of a model of one level; the mean of a Gaussian."""
    return model.latents(x)[0].z


@torch.no_grad()
def z_e(model: Autoencoder, x: Tensor) -> Tensor:
    """What the only level's bottleneck is given."""
    (level,) = model.levels
    result: Tensor = level.z_e(model.encoder(model.signal.normalise(x))[0], None)  # type: ignore[operator]
    return result


@torch.no_grad()
def decoded(model: Autoencoder, z: Tensor) -> Tensor:
    """Pictures from 0 to 1."""
    return model.decoder.reconstruct(z, {}) / 255


def step_sizes(frames: Tensor) -> Tensor:
    """Root mean square change from each frame to the next, [steps]."""
    return frames.diff(dim=0).square().flatten(1).mean(1).sqrt()


def measure() -> dict[str, dict[str, float]]:
    """Means over pairs of held-out pictures, by way: the largest step as a multiple of the mean one, in few steps and
    in many, and the share of the many that change nothing at all."""
    x = held_out(2 * PAIRS)
    sums: dict[str, Tensor] = {}
    for pair in range(PAIRS):
        for steps, column in ((COARSE, 0), (FINE, 1)):
            for name, frames in paths(x[pair : pair + 1], x[PAIRS + pair : PAIRS + pair + 1], steps).items():
                sizes, found = step_sizes(frames), sums.setdefault(name, torch.zeros(3))
                found[column] += sizes.max() / sizes.mean() / PAIRS
                found[2] += (sizes == 0).float().mean() / PAIRS * column
    columns = (f"largest_step_of_{COARSE}", f"largest_step_of_{FINE}", "unchanged")
    return {name: dict(zip(columns, found.tolist(), strict=True)) for name, found in sums.items()}


def table(measured: dict[str, dict[str, float]]) -> str:
    """Of what `measure` found."""
    header = ["way", f"largest step / mean, {COARSE} steps", f"{FINE} steps", f"unchanged, of {FINE}"]
    rows = []
    for name, found in measured.items():
        coarse, fine, unchanged = found.values()
        rows.append([name, f"{coarse:.1f}", f"{fine:.1f}", f"{unchanged:.0%}"])
    return markdown(header, rows)


def interpolation() -> None:
    """Nine frames of each way between two pictures, and how large the steps along them are."""
    x = held_out(2 * PAIRS)
    frames = paths(x[:1], x[PAIRS : PAIRS + 1], FINE)
    shown = {name: (path[:: FINE // 8] * 255).round().clamp(0, 255).byte() for name, path in frames.items()}
    figure = picture_rows({name.replace(": ", ":\n"): x for name, x in shown.items()}, below=2.0)
    axes = figure.add_axes((0.08, 0.07, 0.91, 0.19))
    for name, colour in COLOURS.items():
        sizes = step_sizes(frames[name])
        axes.plot(torch.arange(FINE) / FINE, sizes / sizes.mean(), color=colour, label=name, linewidth=1)
    axes.set(xlabel=f"way from one picture to the other, in {FINE} steps", ylabel="step / mean step", xlim=(0, 1))
    axes.legend(loc="upper right", ncols=2)
    save(figure, "interpolation", dpi=150)
    measured = measure()
    store("interpolation", measured)
    fill("interpolation", table(measured))
