"""How much of its codebook each quantizer uses, over 640,000 held-out CIFAR-10 tokens after two thirds of an epoch.

    python benchmarks/codebook_usage.py --data FOLDER_WITH_CIFAR10_PARQUET [--sizes 1024 16384] [--members NAME ...]

Every quantizer that has a table of codes, in one network, at every size that the list below says it is for. Usage is
the share of codes that occur among the tokens of all 10,000 test pictures, 64 each; perplexity is how many equally
likely codes would be as varied. Where there are several codebooks, the worst counts. Wanted are a usage of 99 %, 95 %
of 65,536 codes, and a perplexity of half the codes. Writes benchmarks/results/codebook_usage.json after each cell, and
goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from cifar10_cells import Cells, options

from vqkit.bottlenecks import (
    CosineSimilarityQuantizer,
    EMAVectorQuantizer,
    GumbelMaxQuantizer,
    GumbelSoftmaxQuantizer,
    ImplicitMLEQuantizer,
    IndexBackpropagationQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    ResidualQuantizer,
    SharedResidualQuantizer,
    SimVectorQuantizer,
    StraightThroughGumbelQuantizer,
    VectorQuantizer,
)

STEPS = 250  # of 128 pictures
SIZES = (1024, 16_384, 65_536)


class Member(NamedTuple):
    """A quantizer of a number of codes, and the most codes that it is for."""

    largest: int
    make: Callable[[int], Quantizer]


MEMBERS = {
    "VectorQuantizer": Member(16_384, lambda k: VectorQuantizer(16, k)),
    "EMAVectorQuantizer": Member(65_536, lambda k: EMAVectorQuantizer(8, k)),
    "CosineSimilarityQuantizer": Member(65_536, lambda k: CosineSimilarityQuantizer(EMAVectorQuantizer(8, k))),
    "ProjectedQuantizer": Member(
        65_536, lambda k: ProjectedQuantizer(CosineSimilarityQuantizer(EMAVectorQuantizer(8, k)), 64)
    ),
    "SimVectorQuantizer": Member(16_384, lambda k: SimVectorQuantizer(2, k, commitment_weight=1.0)),
    "ProductQuantizer": Member(
        16_384, lambda k: ProductQuantizer([EMAVectorQuantizer(8, k), EMAVectorQuantizer(8, k)])
    ),
    "ResidualQuantizer": Member(16_384, lambda k: ResidualQuantizer(EMAVectorQuantizer(16, k), depth=2)),
    "SharedResidualQuantizer": Member(16_384, lambda k: SharedResidualQuantizer(EMAVectorQuantizer(16, k), depth=2)),
    # These weigh every vector against every code: memory and time go with the product. Index backpropagation chooses by
    # the inner product, which the longest codes would win; on a sphere all are equally long, and revival serves it too.
    "IndexBackpropagationQuantizer": Member(
        1024, lambda k: CosineSimilarityQuantizer(IndexBackpropagationQuantizer(8, k, revival=0.3))
    ),
    "GumbelSoftmaxQuantizer": Member(
        1024, lambda k: GumbelSoftmaxQuantizer(16, k, annealing_updates=STEPS, kl_weight=0.01)
    ),
    "StraightThroughGumbelQuantizer": Member(
        1024, lambda k: StraightThroughGumbelQuantizer(16, k, annealing_updates=STEPS, kl_weight=0.01)
    ),
    "GumbelMaxQuantizer": Member(1024, lambda k: GumbelMaxQuantizer(16, k, temperature=0.1)),
    "ImplicitMLEQuantizer": Member(1024, lambda k: ImplicitMLEQuantizer(8, k, kl_weight=0.01)),
}


def main() -> None:
    parser = options(__doc__, "codebook_usage.json", STEPS, list(MEMBERS))
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, metavar="CODES", help="all by default")
    chosen = parser.parse_args()
    cells = Cells(chosen.data, chosen.steps, chosen.out)
    rows = []
    for size in chosen.sizes:
        for name in chosen.members:
            if size <= MEMBERS[name].largest:
                cell = cells.measure(f"{name} {size}", partial(MEMBERS[name].make, size))
                rows.append((name, size, cell))
    print(f"{'':32}{'codes':>7}{'usage':>9}{'perplexity':>12}{'nmse':>9}{'s/step':>9}")
    for name, size, cell in rows:
        usage, perplexity = min(cell["usage"]), min(cell["perplexity"])
        met = usage >= (0.99 if size < 65_536 else 0.95) and perplexity >= size / 2
        print(
            f"{name:32}{size:7}{usage:9.2%}{perplexity:12,.0f}{cell['nmse']:9.4f}{cell['seconds_a_step']:9.3f}"
            f"{'' if met else '   less than wanted'}"
        )


if __name__ == "__main__":
    main()
