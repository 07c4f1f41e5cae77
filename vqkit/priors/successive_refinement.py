"""A prior over coefficients that are quantized in stages, each of which halves the step."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nn.conv import ResidualStack, conv
from vqkit.nn.precision import at_least_float32
from vqkit.priors.base import Step, Walk
from vqkit.priors.conditional import ConditionalPrior
from vqkit.priors.context import Context, condition
from vqkit.priors.guidance import Guidance
from vqkit.priors.inputs import check_indices, check_walk, device_of, known_tokens, one_level, unflatten
from vqkit.signal import Indices, Layout, Side

_GAIN = 5.0  # of what is learned of a coefficient whatever is known: it has far to go, and Adam small steps
_LOG_SCALES = -3.0, 7.0  # of a density, in steps: at the least, the neighbours of a sure symbol cost some 20 nats
_BEYOND = 2.0**30  # steps, where no coefficient is: the outer end of the outermost cells
_LEAST_CELL = 1e-6  # of its density's scale, also of an empty one, as a codec can code every symbol


class SuccessiveRefinementPrior(ConditionalPrior):
    """p of the stages of a `UniformScalarQuantizer` whose dead zone is 2, on grids of any size: every coefficient has
    a density, and a symbol costs what the density has in its cell, of what it has in the cell of the stages before
    (successive refinement, Equitz and Cover 1991, https://doi.org/10.1109/18.75242).

    The densities are logistic. Their locations and scales, as in a hyperprior (Balle et al. 2018,
    https://arxiv.org/abs/1802.01436), are what a local net makes of all that is known, which is the stages before at
    all positions and half of the own stage: positions whose coordinates have an even sum come first and the others,
    whose nearest neighbours these are, after them (a checkerboard, He et al. 2021, https://arxiv.org/abs/2103.15306).
    So a walk has two steps a stage, however many positions there are, and the coefficients of a step are independent
    given what is known. One net serves all stages, as what they know differs by its fineness alone.

    Args:
        layout: of one level; `classes` above 0 makes it conditional on the `label` of `side`.
        stages: of the quantizer. The codebooks are stage by stage, those of the first of one odd alphabet, all others
            of three symbols.
        width: channels of the net.
        depth: its residual layers.
        context_channels: C of the `context` [B, C, *any grid] that it is conditional on; 0: none.
        dropout: share of the net's features that is dropped in training.
        label_dropout: share of the labels hidden in training, for guidance; see `ConditionalPrior`.

    Raises ValueError where an argument is out of its range, and in every method where indices, label, context or layout
    are not those that it was made for.
    """

    def __init__(
        self,
        layout: Layout,
        stages: int,
        width: int = 96,
        depth: int = 3,
        context_channels: int = 0,
        dropout: float = 0.0,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__(one_level(layout), dropout, label_dropout, context_channels)
        (grid,), (sizes,) = layout.grids, layout.codebook_sizes
        for name, value, least in (("stages", stages, 1), ("width", width, 1), ("depth", depth, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        self.stages, self.width, self.depth = stages, width, depth
        self._coefficients, self._most = _first_stage(sizes, stages)
        dims, outputs = len(grid), 2 * self._coefficients

        self.stage = nn.Embedding(stages, width)
        self.classes = nn.Embedding(layout.classes + 1, width) if layout.classes else None  # the last one: no class
        self.context = Context(dims, context_channels, width)
        self.stem = conv(dims, outputs + 1, width, 3)
        self.residual = ResidualStack(width, width, depth, dims)
        self.density = conv(dims, width, outputs, 1)
        self.usual = nn.Parameter(torch.zeros(stages, outputs))
        for parameter in self.density.parameters():
            nn.init.zeros_(parameter)

    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        """Mean nats a token; in training mode some labels and features are dropped."""
        check_indices(indices, self.layout, any_grid=True)
        (level,), classes = indices, self.training_classes_of(side, len(indices[0]))
        return -_of(level, self._log_p(level, classes, context, self.dropout if self.training else 0.0)).mean()

    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        (log_p,) = self.log_conditionals(indices, side, context)
        return (_of(indices[0], log_p),)

    def log_conditionals(self, indices: Indices, side: Side, context: Tensor | None = None) -> tuple[Tensor, ...]:
        check_indices(indices, self.layout, any_grid=True)
        (level,) = indices
        with torch.autocast(level.device.type, enabled=False):
            return (self._log_p(level, self.classes_of(side, len(level)), context, 0.0),)

    @torch.no_grad()
    def walk(
        self,
        layout: Layout,
        batch: int,
        side: Side,
        context: Tensor | None = None,
        known: Indices | None = None,
        guidance: float = 1.0,
    ) -> Walk:
        """Two steps a stage. Symbols known of the steps before condition one; those known of later steps cannot."""
        check_walk(layout, self.layout, any_grid=True)
        (grid,), device = layout.grids, device_of(self)
        guide = Guidance(guidance, self.classes_of(side, batch), self)
        (symbols,) = unflatten(known_tokens(known, layout, batch, device).clone(), layout)
        positions = torch.arange(symbols[0].numel(), device=device).view(symbols[0].shape)
        unknown, odd = symbols[0] < 0, _odd(grid, device)
        with torch.autocast(device.type, enabled=False):
            condition = self._condition(guide.classes, None if context is None else guide.both(context), grid)
        before = torch.zeros_like(symbols[:, : self._coefficients])
        stages = (x.split(self._coefficients, -1 - len(grid)) for x in (symbols, unknown, positions))
        for stage, (here, gaps, places) in enumerate(zip(*stages, strict=True)):
            now = 2 * before
            for second in (False, True):
                wanted = gaps & (odd == second)
                if bool(wanted.any()):
                    with torch.autocast(device.type, enabled=False):
                        density = self._density(stage, guide.both(now), ~odd & second, condition)
                        logits = self._logits(stage, guide.both(before), density).movedim(2, -1)
                    here[:, wanted] = yield Step(0, places[wanted][None], guide(logits[:, wanted]))
                refined = 2 * before + here - self._middle(stage)
                now = torch.where(odd, now, refined)
            before = refined

    def _log_p(self, level: Tensor, classes: Tensor, context: Tensor | None, dropout: float) -> Tensor:
        """[B, Q, K, *grid] of every symbol k, -inf beyond an alphabet."""
        grid = tuple(level.shape[2:])
        condition, odd, found = self._condition(classes, context, grid), _odd(grid, level.device), []
        before = torch.zeros_like(level[:, : self._coefficients])
        for stage, here in enumerate(level.split(self._coefficients, 1)):
            refined = 2 * before + here - self._middle(stage)
            first = self._density(stage, 2 * before, torch.zeros_like(odd), condition, dropout)
            second = self._density(stage, torch.where(odd, 2 * before, refined), ~odd, condition, dropout)
            log_p = self._logits(stage, before, torch.where(odd, second, first)).log_softmax(2)
            beyond = (0, 0) * len(grid) + (0, 2 * self._most + 1 - log_p.shape[2])
            found.append(F.pad(log_p, beyond, value=-math.inf))
            before = refined
        return torch.cat(found, 1)

    def _condition(self, classes: Tensor, context: Tensor | None, grid: tuple[int, ...]) -> Tensor | None:
        return condition(self.classes, self.context, classes, context, grid)

    def _density(
        self, stage: int, integers: Tensor, refined: Tensor, condition: Tensor | None, dropout: float = 0.0
    ) -> Tensor:
        """Locations and log scales [B, 2n, *grid], in steps of the stage, from the integers [B, n, *grid] that are
        known, at its step; `refined` [*grid] says where it is those of this stage already."""
        known = integers.to(self.usual.dtype).asinh()
        where = refined.to(known.dtype).expand(len(known), 1, *refined.shape)
        features: Tensor = self.stem(torch.cat([known, known.abs(), where], 1))
        to_grid = (-1, *(1,) * refined.ndim)
        features = features + self.stage.weight[stage].view(to_grid)
        features = self.residual(features if condition is None else features + condition)
        learned = at_least_float32(self.density(F.dropout(features, dropout)))
        return learned + _GAIN * at_least_float32(self.usual[stage]).view(to_grid)

    def _logits(self, stage: int, before: Tensor, density: Tensor) -> Tensor:
        """[B, n, K, *grid] of the stage's symbols: the logarithms of what the densities have in their cells, from the
        integers [B, n, *grid] of the stage before."""
        location, log_scale = density.unsqueeze(2).chunk(2, 1)
        t = (self._edges(stage, before.to(density.dtype)) - location) * log_scale.clamp(*_LOG_SCALES).neg().exp()
        lower, upper = t[:, :, :-1], t[:, :, 1:]
        rest = (lower - upper).clamp_max(-_LEAST_CELL).expm1().neg().log()
        return F.logsigmoid(upper) + F.logsigmoid(-lower) + rest  # the logarithm of sigmoid(upper) - sigmoid(lower)

    def _edges(self, stage: int, before: Tensor) -> Tensor:
        """[B, n, K + 1, *grid]: where the cells of the stage's symbols begin, and the last one ends, in its steps. A
        cell that no symbol stands for is empty."""

        def end(integers: Tensor) -> Tensor:
            return integers + (integers >= 0)  # the cell of 0 is twice as wide as the others

        outermost = (self._most + 1) * 2 ** (stage - 1) - 1 if stage else 0  # before this stage
        first = torch.where(before <= -outermost, -_BEYOND, 2 * end(before - 1))
        last = torch.where(before >= outermost, _BEYOND, 2 * end(before))
        steps = range(-self._middle(stage), self._middle(stage))
        return torch.stack([first, *(end(2 * before + step) for step in steps), last], 2)

    def _middle(self, stage: int) -> int:
        """The symbol that stands for an integer of twice that before."""
        return 1 if stage else self._most


def _first_stage(sizes: tuple[int, ...], stages: int) -> tuple[int, int]:
    """How many coefficients there are, and the largest integer of the first stage."""
    each, left = divmod(len(sizes), stages)
    levels = sizes[0]
    if left or levels % 2 == 0 or levels < 3 or sizes != (levels,) * each + (3,) * (len(sizes) - each):
        raise ValueError(
            f"these {len(sizes)} codebooks are not {stages} stages, of one odd alphabet and then of three symbols; "
            "take this prior for a UniformScalarQuantizer of dead_zone 2, with as many stages as that has"
        )
    return each, levels // 2


def _odd(grid: tuple[int, ...], device: torch.device) -> Tensor:
    """[*grid]: whether the coordinates of a position have an odd sum."""
    axes = torch.meshgrid([torch.arange(extent, device=device) for extent in grid], indexing="ij")
    return torch.stack(axes).sum(0) % 2 > 0


def _of(level: Tensor, log_p: Tensor) -> Tensor:
    """The entries [B, Q, *grid] of the symbols of a level."""
    return log_p.gather(2, level.unsqueeze(2)).squeeze(2)
