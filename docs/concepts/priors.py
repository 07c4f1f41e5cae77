"""What priors.md says, out of what the benchmarks stored, and the order in which two walks go: nothing is trained."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from drawing import BENCHMARKS, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, fill, markdown, save, stored
from matplotlib.axes import Axes
from torch import Tensor

from vqkit.priors import MaskedTransformerPrior, PixelCNN, Prior, Step, drive
from vqkit.signal import Layout

SETS = {"fashion-mnist": "Fashion-MNIST, 49 tokens", "cifar10": "CIFAR-10, 64 tokens"}
COLOURS = {
    "unigram": GREY, "PixelCNN": BLUE, "PixelSNAIL": GREEN, "transformer": ORANGE, "RAR": RED, "masked": PURPLE
}  # fmt: skip
LAYOUT = Layout(((8, 8),), ((16,),))


def cells(data: str) -> dict[str, dict[str, float]]:
    """Of each prior."""
    found: dict[str, dict[str, float]] = stored(BENCHMARKS / "priors.json")[data]
    return found


def table(data: str) -> str:
    """A line a prior."""
    rows = []
    for name, cell in cells(data).items():
        numbers = (f"{cell['parameters']:,.0f}", f"{cell['steps']:,.0f}", f"{cell['minutes']:.1f}")
        nats = (f"{cell['train']:.3f}", f"{cell['validation']:.3f}")
        rows.append([name, *numbers, *nats, f"{cell['bits']:.0f}", f"{cell['seconds']:.2f}"])
    names = ["parameters", "steps", "minutes", "nats, train", "held out", "bits a picture", "seconds for 64"]
    return markdown([SETS[data], *names], rows)


def samplers() -> str:
    """The walk of a masked prior beside MaskGIT's sampler."""
    found = stored(BENCHMARKS / "masked_sampling.json")
    rows = []
    for name, cell in found.items():
        if "judge_nats_per_token" in cell:
            numbers = [f"{cell[key]:.3f}" for key in ("judge_nats_per_token", "deviation", "total_variation")]
            rows.append([name, *numbers])
    return markdown(["sampler", "nats under the judge", "deviation", "total variation"], rows)


def when(prior: Prior) -> Tensor:
    """The number of the step in which each position is filled, [H, W]."""
    steps: list[Tensor] = []

    def choose(step: Step) -> Tensor:
        steps.append(step.positions[0])
        return torch.zeros(1, step.positions.shape[1], dtype=torch.int64)

    drive(prior.eval().walk(LAYOUT, 1, {}), choose)
    numbers = torch.empty(64, dtype=torch.int64)
    for number, positions in enumerate(steps, 1):
        numbers[positions] = number
    return numbers.view(8, 8)


def walks() -> None:
    """Two walks, and what the priors that take them give for the seconds that they take."""
    figure, (raster, masked, seconds) = plt.subplots(1, 3, figsize=(8.4, 2.9), width_ratios=(1, 1, 1.5))
    _order(raster, when(PixelCNN(LAYOUT, width=8, depth=1)), "Raster: 64 steps")
    _order(masked, when(MaskedTransformerPrior(LAYOUT, width=16, depth=1, heads=2)), "Masked: 8 steps")
    for data, marker in (("fashion-mnist", "o"), ("cifar10", "s")):
        for name, cell in cells(data).items():
            if name != "unigram":
                label = name if marker == "o" else None
                seconds.plot(cell["seconds"], cell["validation"], marker, color=COLOURS[name], label=label)
    seconds.set(xlim=(0, None), xlabel="seconds for 64 samples", ylabel="nats a token, held out")
    seconds.set(title="Circles: Fashion-MNIST, squares: CIFAR-10")
    seconds.legend()
    save(figure, "priors", dpi=150)
    for data in SETS:
        fill("priors", table(data))
    fill("priors", samplers())


def _order(axes: Axes, numbers: Tensor, title: str) -> None:
    axes.imshow(numbers, cmap="viridis_r")
    for row in range(8):
        for column in range(8):
            late = int(numbers[row, column]) > int(numbers.max()) / 2
            axes.text(
                column, row, int(numbers[row, column]), ha="center", va="center", fontsize=6.5,
                color="white" if late else "black",
            )  # fmt: skip
    axes.set_axis_off()
    axes.set_title(title)
