"""The verbs, thin over `run` and `pipeline`. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from vqkit.command import Told, call, status


def tokenize(run: str, source: str, *, out: str, strict: bool = False) -> Told:
    """Writes the tokens of a source as Parquet shards: OUT/train and OUT/validation. A stopped job goes on.

    Args:
        run: folder of a trained run.
        source: what to tokenize: a built-in name, a file, a folder, Parquet, or hf://owner/name.
        out: folder for the shards.
        strict: stop at a sample that cannot be read, instead of leaving it out and counting it.
    """
    from vqkit.run import Run, tokenize_source

    written = tokenize_source(Run(run), source, out, strict)
    return Told(written, f"tokens in {out}: " + ", ".join(f"{name} {number:,}" for name, number in written.items()))


def sample(
    run: str,
    n: int = 64,
    out: str = "samples.png",
    label: str | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    guidance: float = 1.0,
    seed: int = 0,
    keep: str | None = None,
    mask: str | None = None,
    steps: int | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> Told:
    """Draws samples from the prior and writes them as one picture, or as an .npy of native values.

    Ctrl-C writes those that are done; a batch in progress, of 16 to 256, is lost.

    Args:
        run: folder of a trained run.
        n: how many; -n for short.
        out: .png for a grid, .npy for the values [n, C, *grid].
        label: only of this class, by name or number; by default the classes in turn, and with --keep no class.
        temperature: below 1 for the likely, 0 for the likeliest at each position.
        top_k: draw among the k likeliest codes only.
        top_p: draw among the likeliest codes that make up this probability only.
        guidance: above 1 for samples more typical of their class, and more alike; only of a prior that knows classes.
        seed: of the draws.
        keep: a picture of which a part is kept and the rest drawn n times: inpainting, outpainting, or with --label
            editing. It is tokens that are kept, so what comes back is a reconstruction, and near what is drawn the
            decoder blends the two. A masked prior sees what is kept on all sides, others what is before.
        mask: what of --keep is kept: a picture of any size, white there and black elsewhere. A token is kept if all of
            its cell is white.
        steps: in which a masked prior fills a level; by default those of its recipe. More make better samples, up to a
            point.
        precision: of the prior; bfloat16 is faster for a large transformer on a processor that has it, and draws from
            a distribution that is a little off.
    """
    import torch

    from vqkit.priors import Choice
    from vqkit.run import Kept, Run

    if (keep is None) != (mask is None):
        raise ValueError("keep and mask go together; give a picture, and one that is white where it is to be kept")
    if any(given is not None and Path(given).resolve() == Path(out).resolve() for given in (keep, mask)):
        raise ValueError(f"{out} is what is read; name another file as out")
    kept = None if keep is None or mask is None else Kept(keep, mask)
    loaded = Run(run)
    loaded.check_samples_path(out)  # before the work, not after it
    drawn = []
    try:
        for batch in loaded.draws(n, label, Choice(temperature, top_k, top_p, guidance), seed, kept, steps, precision):
            drawn.append(batch)
    except KeyboardInterrupt:
        done = sum(map(len, drawn))
        if done:
            loaded.save_samples(torch.cat(drawn), out)
        raise KeyboardInterrupt(f"{done} of {n} samples are done" + f" and in {out}" * (done > 0)) from None
    loaded.save_samples(torch.cat(drawn), out)
    return Told({"samples": out, "n": n}, f"{n} samples in {out}")


def reconstruct(run: str, *files: str, out: str, levels: int | None = None, label: str | None = None) -> Told:
    """Encodes files and decodes them again, to see what the tokens, or whatever the latent is, hold of them.

    Args:
        run: folder of a trained run.
        files: what to reconstruct; of a folder, all pictures in it. They keep their own size, also a large one, if the
            tokenizer is convolutional; one that knows a single size, such as PCA, has them fitted to it.
        out: folder for the reconstructions, each under its own file's name and, where names clash, its folder's.
        levels: decode so many levels alone, the coarsest ones, with zeros for the others, of a model of several that
            was trained with level_dropout or has residual scales. By default all.
        label: class of all the files, by name or number; only of a run whose decoder must be told one.
    """
    from vqkit.run import Run, reconstruct_files

    written = reconstruct_files(Run(run), files, out, levels, label)
    return Told({"reconstructions": [str(path) for path in written]}, f"{len(written)} reconstructions in {out}")


def compress(
    run: str,
    *files: str,
    out: str,
    quality: int | None = None,
    bare: bool = False,
    prior: Literal["learned", "unigram", "uniform"] = "learned",
    label: str | None = None,
    lossless: bool = False,
) -> Told:
    """Writes files as .vqz: their tokens, entropy coded by a prior.

    Args:
        run: folder of a trained run.
        files: pictures, or folders of them. They keep their sizes, but for a tokenizer that knows a single size, such
            as PCA, to which they are fitted.
        out: a name that ends in .vqz: all pictures go into that file, and must have one size. Any other name: a folder,
            with one NAME.vqz a picture. No file is replaced.
        quality: from 1, the smallest and coarsest, to as many as the run's tokenizer has, the default; one whose
            codebooks are of no use without each other has a single one.
        bare: the payload alone, as NAME.bare, of pictures of the run's own size. To read it you must name the same run,
            quality, prior and label; with others it is another picture, without a warning.
        prior: what the tokens are coded by: what the run has learned, how often each is used (fast), or nothing (fast).
        label: class of all the files, by name or number, which a prior that knows classes is told; a byte a picture.
        lossless: every pixel as it is; only of a run whose decoder predicts pixel by pixel, as that of the recipe
            fashion-mnist-pixelcnn.
    """
    from vqkit.run import Run, compress_files

    done = compress_files(Run(run), files, out, quality, bare, prior, label, lossless)
    facts = {"files": [str(path) for path in done.paths], "bytes": done.bytes, "bits_per_pixel": done.bits_per_pixel}
    count = f"{len(done.paths)} file{'s' * (len(done.paths) > 1)}"
    return Told(facts, f"{count} in {out}: {done.bytes:,} bytes, {done.bits_per_pixel:.4f} bits a pixel")


def decompress(
    run: str,
    *files: str,
    out: str,
    quality: int | None = None,
    bare: bool = False,
    prior: Literal["learned", "unigram", "uniform"] | None = None,
    label: str | None = None,
    lossless: bool = False,
) -> Told:
    """Writes the pictures that .vqz files hold. Of a damaged file what is left; the exit status is then 1.

    Args:
        run: folder of the run that compressed them.
        files: what to decompress; of a folder, all .vqz (or .bare) in it.
        out: folder for the pictures, each under its file's name, with a number where a file holds several.
        quality: only with --bare: what compress was given. Any other file says so itself.
        bare: files that were compressed with --bare.
        prior: only with --bare, by default learned.
        label: only with --bare.
        lossless: only with --bare.
    """
    from vqkit.run import Run, decompress_bare, decompress_files

    if bare:
        done = decompress_bare(Run(run), files, out, quality, prior or "learned", label, lossless)
    elif (quality, prior, label, lossless) != (None, None, None, False):
        raise ValueError(
            "quality, prior, label and lossless are in a .vqz file; leave them out, or add --bare for bare payloads"
        )
    else:
        done = decompress_files(Run(run), files, out)
    facts = {"pictures": [str(path) for path in done.paths], "damages": done.damages}
    return Told(facts, f"{len(done.paths)} picture{'s' * (len(done.paths) != 1)} in {out}", done.damages)


def evaluate(run: str, data: str | None = None, samples: int = 10_000, classification: bool = False) -> Told:
    """Measures distortion, likelihood, codebook health and rate on the train and validation splits.

    Args:
        run: folder of a trained run.
        data: another SOURCE than the run was trained on.
        samples: how many of each split, at most. Only with the default, and without --data, evaluation.json is written.
        classification: the classification accuracy score too: what classifiers get right on held-out data that learned
            from real data, from reconstructions and from the model's samples. It stays in evaluation.json; takes
            minutes, three times 2,000 training steps and up to 60,000 samples.
    """
    from vqkit.evaluation import GENERATION, table
    from vqkit.run import EVALUATED, Run, evaluate_samples

    loaded, whole = Run(run), data is None and samples == EVALUATED
    if classification and not whole:
        raise ValueError("--classification is of the data that the run was trained on; leave --data and --samples out")
    if not whole:
        numbers = loaded.evaluate(data, samples)
    else:
        # Samples first, since what cannot be measured of them is said before the long rest.
        generation = evaluate_samples(loaded, classification)
        numbers = {**loaded.evaluate(), GENERATION: generation}
        loaded.save_evaluation(numbers)
    return Told(numbers, table(numbers))


def compare(
    *runs: str,
    out: str,
    data: str | None = None,
    size: int | None = None,
    samples: int = 100,
    sheet: int = 1,
    codecs: str | None = None,
    bare: bool = False,
) -> Told:
    """Draws rate-distortion curves of runs beside JPEG, WebP, AVIF and JPEG XL, from the bytes of files.

    Args:
        runs: folders of trained runs; NAME=RUN,RUN,... makes one curve of several, such as PCA at several steps.
        out: folder for points.csv, comparison.json and a figure for each measure of quality, such as psnr.svg.
        data: pictures, a SOURCE of any kind; its test or validation split where it has one, else all of it. By default
            what is held out of the data that the runs were trained on.
        size: fit pictures to so many pixels a side; by default pictures of --data keep their sizes.
        samples: how many pictures, at most, evenly spread over all that there are.
        sheet: how many pictures share a file and its header, for small ones.
        codecs: some of jpeg,webp,avif,jpeg-xl; by default those that are installed.
        bare: of runs, payloads without headers, as of vqkit compress --bare.
    """
    from vqkit.run.compare import compare_runs

    compared = compare_runs(
        runs, out, data, size, samples, sheet, [name.strip() for name in codecs.split(",")] if codecs else None, bare
    )
    return Told(compared.facts(), compared.table())


def report(run: str) -> Told:
    """Writes the run's report, one HTML page that needs nothing else.

    Args:
        run: folder of a trained run.
    """
    from vqkit import pipeline
    from vqkit.run import Run

    path = pipeline.report(Run(run))
    return Told({"report": str(path)}, f"report: {path}")


def doctor(run: str) -> Told:
    """Says what is wrong with a run and what to change, if anything; exit status 0 either way.

    Args:
        run: folder of a trained and evaluated run.
    """
    from vqkit.doctor import as_text, diagnose
    from vqkit.run import Run
    from vqkit.signal import Layout

    loaded = Run(run)
    layout = loaded.layout if loaded.tokenizer.discrete else Layout((), ())
    findings = diagnose(loaded.evaluation, layout, loaded.metrics)
    healthy = not any(finding.remedy for finding in findings)
    return Told({"healthy": healthy, "findings": [finding._asdict() for finding in findings]}, as_text(findings))


def train(arguments: Sequence[str]) -> Told:
    """Trains a tokenizer, then a prior over its tokens; evaluates both, draws samples and writes the report."""
    from vqkit import pipeline, recipe

    parser = recipe.parser()
    parser.prog, parser.description = "vqkit train", f"{train.__doc__} Recipes: {', '.join(recipe.names())}."
    parser.usage = "vqkit train RECIPE [--data SOURCE] [--out RUN] [--any.key value ...]"
    parser.add_argument("recipe", help="a recipe's name, or a YAML file of your own")
    parser.add_argument("--out", help="folder of the run, by default runs/RECIPE; an unfinished run is resumed")
    parser.add_argument("--stages", help="only these of tokenizer,joint,tokens,prior,evaluation,report")
    parser.add_argument("--overwrite", action="store_true", help="make stages again that are done, and all after them")
    parser.add_argument("--devices", type=int, help="the devices of every training at once")
    parser.add_argument("--strict", action="store_true", help="stop at a sample that cannot be read, not leave it out")
    parser.add_argument("--json", action="store_true", help="print where things are as JSON")
    if not arguments:
        raise ValueError(f"name a recipe: {', '.join(recipe.names())}, or a YAML file of your own")
    bases = [] if arguments[0].startswith("-") else recipe.arguments(arguments[0])
    parsed = recipe.parse(parser, [*arguments[:1], *bases, *arguments[1:]])
    if parsed.devices is not None:
        joint = [] if parsed.joint is None else [parsed.joint.training]
        for settings in (parsed.training, *joint, parsed.prior_training):
            settings.devices = parsed.devices
    run = pipeline.make(
        recipe.instantiate(parser, parsed),
        recipe.dump(parser, parsed),
        Path(parsed.out or f"runs/{Path(parsed.recipe).stem}"),
        parsed.stages.split(",") if parsed.stages else None,
        parsed.overwrite,
        parsed.strict,
    )
    made = {"run": str(run.folder)}
    made |= {name: str(path) for name, path in run.results.items() if path.exists()}
    told = [f"{name}: {path}" for name, path in made.items()]
    if left := pipeline.left(run.folder):
        told.append(f"still to come: {', '.join(left)}; the same command without --stages goes on with them")
    return Told(made, "\n".join(told))


_VERBS = (train, tokenize, sample, reconstruct, compress, decompress, evaluate, compare, report, doctor)
VERBS: dict[str, Callable[..., Told]] = {verb.__name__: verb for verb in _VERBS}


def main(arguments: Sequence[str] | None = None) -> int:
    """The `vqkit` command; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if given[0] == "--version":
        from vqkit import __version__

        print(__version__)
        return 0
    logging.basicConfig(format="vqkit: %(message)s")
    verb, rest = given[0], given[1:]
    goes_on = "goes on from where it was" if verb in ("train", "tokenize") else "begins anew"
    return status(lambda: _do(verb, rest), "--json" in rest, f"the same command {goes_on}")


def _do(verb: str, arguments: Sequence[str]) -> Told:
    if verb not in VERBS:
        raise ValueError(f"there is no verb {verb}; name one of {', '.join(VERBS)}")
    return train(arguments) if verb == "train" else call(VERBS[verb], arguments)


def _overview() -> str:
    lines = ["usage: vqkit VERB ...", "", "Images into discrete tokens and back.", ""]
    lines += [f"  {name:<12} {(inspect.getdoc(verb) or '').splitlines()[0]}" for name, verb in VERBS.items()]
    return "\n".join([*lines, "", "vqkit VERB --help says more; start with: vqkit train digits"])
