from __future__ import annotations

from xml.etree import ElementTree

from vqkit.evaluation import Comparison, Point
from vqkit.report import rate_distortion_figures
from vqkit.report.svg import COLOURS

SVG = "{http://www.w3.org/2000/svg}"


def comparison(*codecs: str) -> Comparison:
    points = [
        Point(codec, "", 1, 64 * rate, rate, 0.01, 20 + 4 * rate + number, 0.5 + rate / 10, None)
        for number, codec in enumerate(codecs)
        for rate in (0.5, 1.0, 2.0)
    ]
    return Comparison(points, "tiny <ones>, 8 x 8 pixels", 5, 320, 1, ["AVIF"])


def test_there_is_a_file_for_each_quality_that_was_measured() -> None:
    figures = rate_distortion_figures(comparison("runs/a", "AVIF"))
    assert list(figures) == ["psnr", "ssim"]
    for text in figures.values():
        root = ElementTree.fromstring(text)
        assert root.tag == f"{SVG}svg" and root.find(f"{SVG}title") is not None
        words = " ".join("".join(element.itertext()) for element in root.iter(f"{SVG}text"))
        assert {"runs/a", "AVIF", "bits a pixel", "bits a picture"} <= {
            "".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")
        }
        assert "5 pictures: tiny <ones>, 8 x 8 pixels. One picture a file" in words


def test_a_file_needs_no_page_and_is_the_same_each_time() -> None:
    text = rate_distortion_figures(comparison("runs/a", "AVIF"))["psnr"]
    assert "var(" not in text and not any(colour in text for colour in COLOURS)
    assert text == rate_distortion_figures(comparison("runs/a", "AVIF"))["psnr"]


def test_a_run_keeps_its_colour_and_an_anchor_is_dashed() -> None:
    alone, beside = (rate_distortion_figures(comparison(*names))["psnr"] for names in (["r"], ["AVIF", "r"]))
    assert "#2f6fd6" in alone and "#2f6fd6" in beside and "stroke-dasharray" not in alone
    assert "stroke-dasharray" in beside


def test_the_rates_on_top_are_those_of_a_picture() -> None:
    root = ElementTree.fromstring(rate_distortion_figures(comparison("r"))["psnr"])
    labels = ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]
    assert {"0.5", "1", "2"} <= set(labels) and {"50", "100"} <= set(labels)
