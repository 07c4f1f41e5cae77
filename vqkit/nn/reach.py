"""How far a local net sees, so that a part of a large input can be computed alone, with as much around it as that needs
(receptive field arithmetic, Araujo et al. 2019, https://doi.org/10.23915/distill.00021)."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from typing import NamedTuple

from torch import nn

_POINTWISE = (nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Dropout)
_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CONV_TRANSPOSE = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Reach(NamedTuple):
    """Output position i of a net lies over its input from `stride` i to `stride` (i + 1), and all input positions that
    have a part in it lie, whole, within `halo` input positions of there; along every axis. A stride below 1 is that of
    a net that makes the grid finer. Exact fractions, as nets compose."""

    stride: Fraction = Fraction(1)
    halo: Fraction = Fraction(0)

    def then(self, net: Reach) -> Reach:
        """Of this net and then `net` on what it puts out."""
        return Reach(self.stride * net.stride, self.halo + self.stride * net.halo)


def reach_of(net: nn.Module) -> Reach:
    """Of torch's layers, of sequences of them, and of any net that states it as its attribute `reach`.

    Raises ValueError for a net that does not, as it may be one that sees the whole grid or knows one size alone, and
    for a convolution that does not exactly keep, divide or multiply the grid, as then its parts have no place in it.
    """
    if isinstance(stated := getattr(net, "reach", None), Reach):
        return stated
    if isinstance(net, nn.Sequential):
        return reduce(Reach.then, map(reach_of, net), Reach())
    if isinstance(net, _POINTWISE):
        return Reach()
    if isinstance(net, nn.PixelShuffle):
        return _repeated(net.upscale_factor)
    if isinstance(net, nn.Upsample) and isinstance(net.scale_factor, float) and net.scale_factor.is_integer():
        repeated = _repeated(int(net.scale_factor))
        if net.mode.startswith("nearest"):
            return repeated
        if net.mode in ("linear", "bilinear", "trilinear") and not net.align_corners:
            return repeated._replace(halo=Fraction(3, 2))
    if isinstance(net, _CONV) and net.padding_mode != "circular" and not isinstance(net.padding, str):
        return _of_axes(net, [*map(_conv, net.kernel_size, net.stride, net.padding, net.dilation)])
    if isinstance(net, _CONV_TRANSPOSE) and not isinstance(net.padding, str):
        beyond = net.output_padding
        return _of_axes(net, [*map(_conv_transpose, net.kernel_size, net.stride, net.padding, net.dilation, beyond)])
    raise not_local(net)


def reaches_of(encoder: nn.Module) -> tuple[Reach, ...]:
    """Of each map that an encoder puts out, coarse to fine, which it states as its attribute `reaches`. Raises
    ValueError like `reach_of`."""
    stated: tuple[Reach, ...] | None = getattr(encoder, "reaches", None)
    if stated is None:
        raise not_local(encoder)
    return stated


def not_local(net: nn.Module) -> ValueError:
    """What a net is refused with whose input may have no other size than its own."""
    return ValueError(
        f"{type(net).__name__} is bound to samples of the size that it was made for; resize them to that, or train a "
        "tokenizer that takes any, such as Convolutional"
    )


def _repeated(times: int) -> Reach:
    """Where each position of the input is seen by the `times` that lie over it, and by no others."""
    return Reach(Fraction(1, times), 1 - Fraction(1, times))


def _conv(size: int, stride: int, padding: int, dilation: int) -> Reach | None:
    """Along one axis. Output i sees the inputs from stride i - padding, `dilation` (size - 1) of them on."""
    beyond = dilation * (size - 1) - 2 * padding
    if not 0 <= beyond < stride:
        return None
    return Reach(Fraction(stride), Fraction(max(padding, dilation * (size - 1) - padding + 1 - stride, 0)))


def _conv_transpose(size: int, stride: int, padding: int, dilation: int, output_padding: int) -> Reach | None:
    """Along one axis. Input i is seen by the outputs from stride i - padding, `dilation` (size - 1) of them on."""
    last = dilation * (size - 1)
    if last + 1 + output_padding - 2 * padding != stride:
        return None
    return Reach(Fraction(1, stride), Fraction(max(last - padding, padding + stride - 1), stride))


def _of_axes(net: nn.Module, axes: list[Reach | None]) -> Reach:
    """The widest of all axes, which must have one stride."""
    known = [axis for axis in axes if axis is not None]
    if len(known) < len(axes) or len({axis.stride for axis in known}) > 1:
        raise ValueError(
            f"{net} does not put out a grid of the input's size, or an exact part or multiple of it, the same for "
            "every axis; change its padding"
        )
    return max(known)
