"""Principal component analysis: the linear autoencoder, whose best weights have a closed form (Pearson 1901,
https://doi.org/10.1080/14786440109462720; Baldi and Hornik 1989, https://doi.org/10.1016/0893-6080(89)90014-2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn

from vqkit.autoencoders.architecture import Architecture
from vqkit.autoencoders.autoencoder import Autoencoder
from vqkit.autoencoders.decoder import FeedForwardDecoder
from vqkit.autoencoders.level import ProjectedLevel
from vqkit.bottlenecks import Bottleneck
from vqkit.likelihoods import LOCATIONS, DiscretizedDensity, Gaussian, Scored
from vqkit.nn import Flatten, LinearDecoder
from vqkit.signal import Batch, Signal

_MOST_DIMS = 1 << 14  # a covariance of 2 GiB, and a quarter of an hour for its eigenvectors


class PCA(Architecture):
    """A whole sample becomes its projections on the first principal components, as many as the bottleneck has
    dimensions: one position, z_e [B, dim, 1, ...] in units of the normalised data.

    An `Identity` leaves the PCA itself. A `UniformScalarQuantizer` makes it the classical transform codec: one step for
    all components, each with its own alphabet; let `levels` x `step` span the first one, whose range is the widest.

    Args:
        bottleneck: what stands between encoder and decoder; its dim is the number of components.
        likelihood: p(x | parameters) of the decoder, which puts out x_hat. A `DiscretizedDensity` alone reads the mean
            of clamped values off it, which no longer has the least squared error; one that is `Scored` beside a
            Gaussian leaves it as it is.
    """

    def __init__(self, bottleneck: Bottleneck, likelihood: Gaussian | DiscretizedDensity | Scored) -> None:
        if bottleneck.inputs != bottleneck.dim:
            raise ValueError(
                f"{type(bottleneck).__name__} takes more than one number a dimension and PCA has one; use Identity, or "
                "a quantizer such as UniformScalarQuantizer"
            )
        if likelihood.meaning != LOCATIONS:
            raise ValueError(
                f"a PCA's decoder puts out x_hat and {type(likelihood).__name__} takes it for {likelihood.meaning}; "
                "use likelihoods.Gaussian, or Scored with one"
            )
        self.bottleneck, self.likelihood = bottleneck, likelihood

    def __call__(self, signal: Signal) -> Autoencoder:
        """The linear autoencoder with random weights, which gradients can train too; `fit` gives the fitted one."""
        if self.bottleneck.dim > signal.dims:
            raise ValueError(
                f"samples of {signal.dims} dimensions have no {self.bottleneck.dim} principal components; lower the "
                f"bottleneck's dim to {signal.dims} or less"
            )
        bottleneck, likelihood = deepcopy(self.bottleneck), deepcopy(self.likelihood)
        return Autoencoder(
            signal,
            Flatten(),
            [ProjectedLevel(signal.dims, bottleneck, len(signal.grid))],
            FeedForwardDecoder(signal, LinearDecoder(bottleneck.dim, signal.channels, signal.grid), likelihood),
        )

    @torch.no_grad()
    def fit(self, signal: Signal, batches: Callable[[], Iterable[Batch]]) -> Autoencoder:
        """The autoencoder of least squared error, in eval mode. `batches` starts the stream anew; it has to end.

        A first pass finds the components, a second starts a bottleneck that starts from data. The last finds the gain
        of each component that makes up best, in least squares, for what the bottleneck does to it on average; the
        decoder's weights are the components times their gains, all 1 with an `Identity`.

        Raises:
            ValueError: there are fewer samples than components, samples are padded, or have too many dimensions.
        """
        model = self(signal).eval()
        mean, components = principal_components(_vectors(signal, batches()), self.bottleneck.dim)
        _set(model.get_submodule("levels.0.project"), components, -components @ mean)
        model.initialise(batches)
        gains = _gains(model, batches())
        _set(model.get_submodule("decoder.net.project"), (components * gains[:, None]).t(), mean)
        return model


def principal_components(rows: Iterable[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """The mean [D] and the first `count` principal components [count, D] of a stream of rows [n, D], float64.

    They are orthonormal, by falling variance, and signed so that the largest entry of each is positive. Of the stream
    only the covariance is kept, 8 D^2 bytes. Raises ValueError where there are fewer rows than components, or D is
    above 16,384.
    """
    total, sums, products = 0, torch.zeros(0), torch.zeros(0)
    for part in rows:
        if not total:
            if (dims := part.shape[1]) > _MOST_DIMS:
                raise ValueError(
                    f"PCA of {dims:,} dimensions takes a covariance of {8 * dims**2 / 2**30:.0f} GiB; make samples "
                    f"smaller, such as by modality.size, to at most {_MOST_DIMS:,} dimensions"
                )
            sums, products = (torch.zeros(*shape, dtype=torch.float64) for shape in ((dims,), (dims, dims)))
        part = part.double()
        total += len(part)
        sums += part.sum(0)
        products.addmm_(part.t(), part)
    if total < count:
        raise ValueError(
            f"{total} samples have no {count} principal components; lower the bottleneck's dim or add samples"
        )
    mean = sums / total
    covariance = products.div_(total).addr_(mean, mean, alpha=-1)
    components = torch.linalg.eigh(covariance).eigenvectors[:, -count:].t().flip(0)
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return mean, components * largest.sign()


def _vectors(signal: Signal, batches: Iterable[Batch]) -> Iterable[Tensor]:
    """Normalised samples as rows [n, D]."""
    for batch in batches:
        if batch.mask is not None:
            raise ValueError("PCA takes whole samples; cut the source into windows that need no padding")
        yield signal.normalise(batch.x).flatten(1)


def _gains(model: Autoencoder, batches: Iterable[Batch]) -> Tensor:
    """Of each channel, <z_e z> / <z z> [D] float64, and 1 where z is always 0: the factor on z that brings it closest
    to z_e."""
    (level,) = model.levels
    assert isinstance(level, ProjectedLevel)
    along, squares = (torch.zeros(level.bottleneck.dim, dtype=torch.float64) for _ in range(2))
    for batch in batches:
        z_e = level.z_e(model.encoder(model.signal.normalise(batch.x))[0], None)
        z = level.bottleneck(z_e).z
        along += (z_e * z).double().flatten(1).sum(0)
        squares += z.double().square().flatten(1).sum(0)
    return torch.where(squares > 0, along / squares, 1.0)


def _set(convolution: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """The weight [outputs, inputs] and the bias [outputs] of a convolution of one position."""
    for name, values in (("weight", weight), ("bias", bias)):
        parameter = convolution.get_parameter(name)
        parameter.copy_(values.reshape(parameter.shape))
