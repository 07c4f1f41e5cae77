from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from vqkit.evaluation import MEASURES, Neighbours
from vqkit.report import Findings, Generation, write
from vqkit.report.curves import training_charts, usage_chart
from vqkit.report.pictures import code_colours
from vqkit.signal import Layout

X = torch.arange(192).view(3, 1, 8, 8).byte()
LAYOUT = Layout(((2, 2), (4, 4)), ((8,), (16, 16)))


def findings(**changed: Any) -> Findings:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (3, 1, 8, 8), generator=generator).byte()
    numbers: dict[str, Any] = dict.fromkeys(MEASURES, 0.5) | {
        "ssim": None,
        "grids": LAYOUT.grids,
        "nats_per_token_of_levels": [0.25, 0.125],
        "reasons": {"ssim": "Too small for it."},
    }
    rows = [{"step": str(10 * n), "loss": str(1 / n), "validation_loss": "" if n % 2 else 2 / n} for n in range(1, 9)]
    return Findings(
        title="digits",
        config_yaml="data: digits\n",
        command="vqkit train digits",
        evaluation={"train": numbers, "validation": numbers},
        originals=x,
        reconstructions={1: x // 4, 2: x // 2},
        indices=tuple(
            torch.randint(0, sizes[0], (3, len(sizes), *grid), generator=generator)
            for grid, sizes in zip(LAYOUT.grids, LAYOUT.codebook_sizes, strict=True)
        ),
        generation=generation(x.expand(-1, 3, -1, -1)),
        layout=LAYOUT,
        token_counts=[torch.arange(8)[None], torch.arange(32).view(2, 16)],
        metrics={"tokenizer": rows, "prior": rows},
        facts={"Hardware": "a laptop"},
    )._replace(**changed)


def generation(x: torch.Tensor, **changed: Any) -> Generation:
    near = Neighbours(x[:2, None].repeat(1, 3, 1, 1, 1), torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.4, 0.5]]), 9)
    rows = {"temperature 0.7": x, "temperature 1": x, "guidance 2": x, "guidance 4": x}
    return Generation(x, ["zero", "one", "two"], rows, near)._replace(**changed)


class Elements(HTMLParser):
    """Every start tag with its attributes; fails where tags do not nest."""

    VOID = frozenset({"meta", "img", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(folder: Path, **changed: Any) -> str:
    write(findings(**changed), folder / "report" / "index.html")
    assert [path.name for path in (folder / "report").iterdir()] == ["index.html"]
    return (folder / "report" / "index.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    text = page_of(tmp_path)
    elements = Elements(text).found
    assert not {"script", "link", "iframe"} & {tag for tag, _ in elements}
    assert all(str(a["src"]).startswith("data:image/png;base64,") for _, a in elements if "src" in a)
    assert all(str(value).startswith("#") for _, a in elements for name, value in a.items() if name.endswith("href"))
    assert "http" not in text and "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    # three pairs, three originals beside two reconstructions, or beside three maps, three samples, and again at each of
    # four choices, and two of them beside three neighbours
    assert sum(tag == "img" for tag, _ in elements) == 6 + 3 * 3 + 3 * 4 + 3 + 3 * 4 + 2 * 4
    assert sum(tag == "svg" for tag, _ in elements) == 2 + 2


def test_ids_are_defined_where_referred_to(tmp_path: Path) -> None:
    text = page_of(tmp_path)
    ids = set(re.findall(r' id="([^"]+)"', text))
    assert ids and set(re.findall(r'(?:url\(|href=")#([^)"]+)', text)) == ids


def test_what_the_user_wrote_is_text(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    text = page_of(
        tmp_path, title=evil, config_yaml=evil, command=evil, facts={evil: evil},
        generation=generation(X, labels=[evil] * 3, choices={evil: X}),
        metrics={"tokenizer": [{"step": 1, evil: 2.0, "a\\1b": 1.0}]},
    )  # fmt: skip
    assert "<script" not in text
    Elements(text)


def test_missing_parts_are_said(tmp_path: Path) -> None:
    none: dict[str, Any] = dict.fromkeys(MEASURES) | {"psnr": float("nan"), "reasons": {"usage": "No codes."}}
    text = page_of(
        tmp_path,
        generation=None,
        metrics={"tokenizer": [], "prior": [{"step": 1, "loss": "nan"}]},
        evaluation={"validation": none},
        token_counts=[torch.zeros(1, 8, dtype=torch.int64), torch.zeros(2, 16, dtype=torch.int64)],
    )
    Elements(text)
    assert "no prior to draw tokens from" in text and "kept no logs" in text
    assert text.count("No codes.") == 2 and "—" in text
    assert "nan" not in re.sub(r"data:[^\"]*", "", text).lower()


def test_every_level_has_its_own_number(tmp_path: Path) -> None:
    text = page_of(tmp_path)
    for title, value in (("level 1, 2 × 2", "0.2500"), ("level 2, 4 × 4", "0.1250")):
        assert re.search(rf'of-level">\s*<th scope="row">{title}</th>\s*(<td>{value}</td>\s*){{2}}', text)


def test_samples_may_have_no_labels(tmp_path: Path) -> None:
    assert "was asked for" not in page_of(tmp_path, generation=generation(X, labels=[]))


def test_samples_are_shown_in_every_way_of_drawing_and_beside_their_neighbours(tmp_path: Path) -> None:
    text = page_of(tmp_path)
    assert re.findall(r"<figcaption>(temperature.*?|guidance.*?)</figcaption>", text) == [
        "temperature 0.7",
        "temperature 1",
        "guidance 2",
        "guidance 4",
    ]
    section = text[text.index("<h2>Nearest training") : text.index("<h2>Codebooks")]
    assert re.findall(r"<figcaption>(.*?)</figcaption>", section) == [
        *("sample", "0.000", "0.100", "0.200"),
        *("sample", "0.300", "0.400", "0.500"),
    ]
    assert "The median sample" not in section
    none = page_of(tmp_path, generation=generation(X, choices={}))
    assert "Temperature and guidance" not in none and "Classification accuracy" not in none


def test_what_was_measured_of_samples_is_told(tmp_path: Path) -> None:
    numbers = dict.fromkeys(MEASURES, 0.5)
    near = {"sample_distance": 0.11, "held_out_distance": 0.1, "copy_distance": 0.05, "searched": 1234}
    rows = {
        source: {"top_1": share, "top_5": None, "trained_on": 1500, "tested_on": 200}
        for source, share in (("real", 0.75), ("reconstructions", 0.5), ("samples", 0.25))
    }
    told = {"memorisation": near | {"ratio": 1.1, "ratio_of_copies": 0.5}, "classification": rows}
    text = page_of(tmp_path, evaluation={"train": numbers, "validation": numbers, "generation": told})
    Elements(text)
    assert "<b>1.100</b>" in text and "1,234 train pictures" in text
    for source, share in (("Real", "75.00"), ("Reconstructions", "50.00"), ("Samples", "25.00")):
        assert f'<th scope="row">{source}</th><td>{share}</td><td>—</td>' in text
    assert "1,500 train pictures" in text and "200 held-out" in text
    assert ">generation<" not in text  # it is no split


def test_a_pair_has_its_own_psnr(tmp_path: Path) -> None:
    x = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    x_hat = x.clone()
    x_hat[1] += 51  # a fifth of the range: 20 log10(5) dB
    text = page_of(tmp_path, originals=x, reconstructions={1: x_hat})
    assert text.count("<figcaption>exact</figcaption>") == 2 and "<figcaption>14.0 dB</figcaption>" in text
    assert "Level by level" not in text


def test_levels_are_shown_one_after_the_other(tmp_path: Path) -> None:
    x = torch.full((7, 1, 8, 8), 51, dtype=torch.uint8)
    text = page_of(tmp_path, originals=x, reconstructions={2: x + 102, 3: x + 51, 4: x}, indices=(), generation=None)
    section = text[text.index("<h2>Level by level") : text.index("<h2>Tokens")]
    assert re.findall(r"<figcaption>(.*?)</figcaption>", section) == ["8.0 dB", "14.0 dB", "exact", "original"] * 6
    assert 'alt="Original 6 from 3 levels"' in section and "coarsest levels alone" in section


def test_pictures_are_checked(tmp_path: Path) -> None:
    x = torch.zeros(3, 1, 8, 8)
    with pytest.raises(ValueError, match="originals are float32"):
        write(findings(originals=x), tmp_path / "index.html")
    with pytest.raises(ValueError, match="the same pictures"):
        write(findings(originals=x[:2].byte()), tmp_path / "index.html")
    with pytest.raises(ValueError, match="reconstructions from 1 levels are float32"):
        write(findings(reconstructions={1: x, 2: x.byte()}), tmp_path / "index.html")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_page(tmp_path: Path) -> None:
    before = page_of(tmp_path)
    with pytest.raises(ValueError, match="uint8"):
        write(findings(generation=generation(X)._replace(samples=torch.zeros(1))), tmp_path / "report" / "index.html")
    assert (tmp_path / "report" / "index.html").read_text(encoding="utf-8") == before


def test_codes_are_told_apart() -> None:
    colours = code_colours(torch.arange(512))
    assert colours.shape == (512, 3) and len({tuple(colour) for colour in colours.tolist()}) == 512
    neighbours = (colours[1:].float() - colours[:-1].float()).norm(dim=1)
    assert float(neighbours.min()) > 60
    assert torch.equal(code_colours(torch.tensor([[7]]))[0, 0], colours[7])


def test_charts_are_grouped() -> None:
    rows = [
        {"step": n, "loss": 1, "validation_loss": 2, "perplexity_0": 3, "batch_perplexity_1": 4, "odd": 5}
        for n in (1, 2)
    ]
    charts = {chart.title: [(key.name, key.dashed) for key in chart.legend] for chart in training_charts(rows)}
    assert charts == {
        "Loss": [("loss", False), ("validation loss", True)],
        "Perplexity": [("perplexity 1", False), ("batch perplexity 2", False)],
        "Odd": [],
    }


def test_charts_take_the_colours_of_the_page() -> None:
    svg = usage_chart("Codes", torch.arange(8)[None], (8,)).svg
    assert "var(--line-1)" in svg and "var(--ink-soft)" in svg and "#0102" not in svg
