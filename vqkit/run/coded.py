"""What a prior's promise costs in bytes."""

from __future__ import annotations

from torch import Tensor

from vqkit import codec
from vqkit.autoencoders import Autoencoder
from vqkit.codec import Codec
from vqkit.data import Dataset, spread, sweep
from vqkit.priors import IndependentPrior, Prior
from vqkit.run.coder import Coder, qualities
from vqkit.signal import Indices

_BATCH = 256  # samples encoded at a time
_SAMPLES, _SYMBOLS = 256, 1 << 14  # that a prior codes which is walked symbol by symbol


def coded_rate(tokenizer: Autoencoder, prior: Prior, modality: str, data: Dataset, most: int) -> dict[str, float]:
    """`coded_bits`, 8 x the bytes of one file a sample, and of how many samples it is, `coded_samples`: evenly spread
    over the data, up to `most` where the prior's symbols are independent, else as many as have 16,384 symbols, and 256
    at most. Their labels are in the file where prior or decoder are told them."""
    coder, signal = Coder(tokenizer, Codec(prior), qualities(tokenizer)[-1]), tokenizer.signal
    quick = isinstance(prior, IndependentPrior)
    few = min(most, _SAMPLES, max(1, _SYMBOLS // sum(prior.layout.tokens)))
    indices: list[Indices] = []
    labels: list[Tensor] = []
    for batch in sweep(data, _BATCH, spread(len(data), most if quick else few)):
        indices.append(tuple(level.cpu() for level in tokenizer.encode(batch.x)))
        labels += batch.side.get("label", ())
    samples = sum(len(levels[0]) for levels in indices)
    knows = tokenizer.decoder.classes or prior.knows_classes
    told = [int(label) for label in labels] if labels and knows else None
    header = coder.header(modality, signal.grid, samples, told)
    chunks = codec.encode_samples(coder.codec, coder.windows(signal.grid), header, indices)
    return {"coded_bits": 8 * sum(map(len, codec.blocks(header, chunks))) / samples, "coded_samples": samples}
