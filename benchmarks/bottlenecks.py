"""Every bottleneck beside the others: one network, the same steps, about 576 nominal bits a CIFAR-10 picture.

    python benchmarks/bottlenecks.py --data FOLDER_WITH_CIFAR10_PARQUET [--members NAME ...] [--steps N]

Each picture has 64 positions and each position about 9 bits, however a member divides them among codebooks, stages,
levels or channels. Measured on all 10,000 test pictures: normalised MSE, usage and perplexity (means over codebooks),
and the bits a picture when its tokens are coded by how often each occurred in 5,000 train pictures. Seconds a step are
of training. Identity and GaussianBottleneck have no tokens: they show what the network does without any, and the bits
of the second are its KL. Writes benchmarks/results/bottlenecks.json after each member, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from cifar10_cells import Cell, Cells, options

from vqkit.bottlenecks import (
    BinarySphericalQuantizer,
    Bottleneck,
    CosineSimilarityQuantizer,
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    GaussianBottleneck,
    GumbelMaxQuantizer,
    GumbelSoftmaxQuantizer,
    Identity,
    ImplicitMLEQuantizer,
    IndexBackpropagationQuantizer,
    LookupFreeQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    RotationTrick,
    SharedResidualQuantizer,
    SimVectorQuantizer,
    StraightThroughGumbelQuantizer,
    UniformScalarQuantizer,
    VectorQuantizer,
)

STEPS = 800  # of 128 pictures
DIM = 32  # of those that do not say how many they want

MEMBERS: dict[str, Callable[[], Bottleneck]] = {
    "Identity": lambda: Identity(DIM),
    "GaussianBottleneck": lambda: GaussianBottleneck(DIM),
    "VectorQuantizer": lambda: VectorQuantizer(DIM, 512),
    "EMAVectorQuantizer": lambda: EMAVectorQuantizer(DIM, 512),
    "EMAVectorQuantizer+RotationTrick": lambda: EMAVectorQuantizer(DIM, 512, estimator=RotationTrick()),
    "CosineSimilarityQuantizer": lambda: CosineSimilarityQuantizer(EMAVectorQuantizer(DIM, 512)),
    "ProjectedQuantizer": lambda: ProjectedQuantizer(EMAVectorQuantizer(8, 512), DIM),
    "SimVectorQuantizer": lambda: SimVectorQuantizer(2, 512, commitment_weight=1.0),
    "ProductQuantizer": lambda: ProductQuantizer([EMAVectorQuantizer(DIM // 2, 32), EMAVectorQuantizer(DIM // 2, 16)]),
    "ResidualQuantizer": lambda: ResidualQuantizer(EMAVectorQuantizer(DIM, 8), depth=3),
    "SharedResidualQuantizer": lambda: SharedResidualQuantizer(EMAVectorQuantizer(DIM, 8), depth=3),
    "FiniteScalarQuantizer": lambda: FiniteScalarQuantizer((8, 8, 8)),
    "LookupFreeQuantizer": lambda: LookupFreeQuantizer(9),
    "BinarySphericalQuantizer": lambda: BinarySphericalQuantizer(9),
    "UniformScalarQuantizer": lambda: UniformScalarQuantizer(4, step=0.3, levels=5),  # 9.3 bits: levels are odd
    "IndexBackpropagationQuantizer": lambda: CosineSimilarityQuantizer(
        IndexBackpropagationQuantizer(8, 512, revival=0.3)  # on a sphere, as the longest codes would win otherwise
    ),
    "GumbelSoftmaxQuantizer": lambda: GumbelSoftmaxQuantizer(DIM, 512, annealing_updates=STEPS, kl_weight=0.01),
    "StraightThroughGumbelQuantizer": lambda: StraightThroughGumbelQuantizer(
        DIM, 512, annealing_updates=STEPS, kl_weight=0.01
    ),
    "GumbelMaxQuantizer": lambda: GumbelMaxQuantizer(DIM, 512, temperature=0.1),
    "ImplicitMLEQuantizer": lambda: ImplicitMLEQuantizer(8, 512, kl_weight=0.01),
}


def main() -> None:
    chosen = options(__doc__, "bottlenecks.json", STEPS, list(MEMBERS)).parse_args()
    cells = Cells(chosen.data, chosen.steps, chosen.out)
    measured = {name: cells.measure(name, MEMBERS[name]) for name in chosen.members}
    print(f"{'':34}{'nmse':>8}{'usage':>8}{'perplexity':>12}{'nominal':>9}{'bits':>9}{'s/step':>8}")
    for name, cell in measured.items():
        of_tokens = "".join(column.rjust(width) for column, width in zip(_of_tokens(cell), (8, 12, 9, 9), strict=True))
        print(f"{name:34}{cell['nmse']:8.4f}{of_tokens}{cell['seconds_a_step']:8.3f}")


def _of_tokens(cell: Cell) -> tuple[str, ...]:
    """Usage, perplexity, nominal bits and bits a picture, as text; dashes where there are none."""
    if "kl_bits" in cell:
        return "-", "-", "-", "-" if cell["kl_bits"] is None else f"{cell['kl_bits']:.1f}"
    usage, perplexity = fmean(cell["usage"]), fmean(cell["perplexity"])
    return f"{usage:.1%}", f"{perplexity:.1f}", f"{cell['nominal_bits']:.1f}", f"{cell['unigram_bits']:.1f}"


if __name__ == "__main__":
    main()
