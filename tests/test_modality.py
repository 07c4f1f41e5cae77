"""Pictures in every form that files come in, to uint8 [H, W, C]."""

import errno
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as pillow

from vqkit.modality import Image


def encoded(picture: pillow.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_path_bytes_and_array_decode_alike(colours: np.ndarray, tmp_path: Path) -> None:
    data = encoded(pillow.fromarray(colours))
    (tmp_path / "a.png").write_bytes(data)
    for cell in (data, tmp_path / "a.png", str(tmp_path / "a.png"), colours):
        assert np.array_equal(Image().decode(cell), colours)
    for cell in (data, colours):
        assert np.array_equal(Image(size=(20, 10)).decode(cell), colours[:, 10:20])  # only cut, not resampled


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_small_jpegs_decode_as_pillow_does(colours: np.ndarray, mode: str, quality: int, progressive: bool) -> None:
    data = encoded(pillow.fromarray(colours).convert(mode), "JPEG", quality=quality, progressive=progressive)
    expected = np.asarray(pillow.open(io.BytesIO(data))).reshape(20, 30, -1)
    assert np.array_equal(Image().decode(data), expected)


def test_greys_and_colours(colours: np.ndarray) -> None:
    grey = colours[..., 0]
    assert Image().decode(grey).shape == (20, 30, 1)
    assert np.array_equal(Image(channels=3).decode(grey), grey[..., None].repeat(3, 2))
    expected = np.asarray(pillow.fromarray(colours).convert("L"))
    assert np.array_equal(Image(channels=1).decode(encoded(pillow.fromarray(colours)))[..., 0], expected)


def test_unusual_modes() -> None:
    palette = pillow.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert Image().decode(encoded(palette)).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    clear = pillow.new("RGBA", (1, 1), (200, 0, 0, 0))
    assert Image().decode(encoded(clear)).tolist() == [[[255, 255, 255]]]
    assert Image().decode(encoded(pillow.new("LA", (1, 1), (0, 0)))).tolist() == [[[255]]]
    assert Image().decode(encoded(pillow.new("1", (1, 1), 1))).tolist() == [[[255]]]
    deep = pillow.fromarray(np.array([[0, 257, 65535]], np.uint16))
    assert Image().decode(encoded(deep)).tolist() == [[[0], [1], [255]]]
    with pytest.raises(ValueError, match="floating-point"):
        Image().decode(encoded(pillow.new("F", (1, 1)), "TIFF"))


def test_cmyk_and_orientation(colours: np.ndarray) -> None:
    assert Image().decode(encoded(pillow.fromarray(colours).convert("CMYK"), "JPEG")).shape == (20, 30, 3)
    exif = pillow.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG"):
        assert Image().decode(encoded(pillow.fromarray(colours), kind, exif=exif)).shape == (30, 20, 3)


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("size", [(8, 8), (40, 16), (300, 200)])
def test_resize(resize: str, size: tuple[int, int]) -> None:
    picture = np.zeros((100, 150, 3), np.uint8)
    picture[:, 75:] = 240
    for cell in (picture, encoded(pillow.fromarray(picture), "JPEG", quality=95)):
        x = Image(size=size, resize=resize).decode(cell).astype(int)  # type: ignore[arg-type]
        assert x.shape == (*size, 3)
        middle = x[size[0] // 2]
        assert (middle[: size[1] // 2 - 2] < 40).all()  # the edge stays in the middle
        right = middle[size[1] // 2 + 2]
        assert (right > 200).all()
        assert (x[0].max() == 0) == (resize == "pad")


def test_a_large_jpeg_shrinks_as_its_pixels_do() -> None:
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], ramp[::-1, None]), 2)
    jpeg = encoded(pillow.fromarray(pixels), "JPEG", quality=95)
    difference = Image(size=32).decode(jpeg).astype(int) - Image(size=32).decode(pixels)
    assert np.abs(difference).max() <= 6


def test_what_cannot_be_read_is_named(colours: np.ndarray, tmp_path: Path) -> None:
    for size in (1, 20):
        big = pillow.fromarray(colours.repeat(size, 0).repeat(size, 1))
        for kind in ("JPEG", "PNG"):
            data = encoded(big, kind)
            (tmp_path / "cut.jpg").write_bytes(data[: len(data) * 2 // 3])
            with pytest.raises(ValueError, match=r"cut.jpg cannot be read as a picture"):
                Image().decode(tmp_path / "cut.jpg")
    (tmp_path / "text.png").write_text("text")
    for path, reason in ((tmp_path / "text.png", "it is damaged, or of a format"), (tmp_path, "Is a directory")):
        with pytest.raises(ValueError, match=rf"{path} cannot be read as a picture \({reason}"):
            Image().decode(path)
    for cell in (b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0\x00\x04\x08\x00\x10\x00\x10\x03", b"text", tmp_path / "none"):
        with pytest.raises(ValueError, match="cannot be read"):
            Image().decode(cell)
    for array in (np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(ValueError, match="store uint8"):
            Image().decode(array)


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.EMFILE, "Too many open files"), OSError(errno.EIO, "Input/output error")]
)
def test_a_failing_machine_is_no_broken_picture(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> bytes:
        raise error

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(type(error)) as raised:
        Image().decode("a.png")
    assert raised.value is error


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EISDIR])
def test_a_file_that_cannot_be_opened_is_a_broken_picture(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> bytes:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(ValueError, match=r"a.png cannot be read"):
        Image().decode("a.png")


def test_arguments() -> None:
    image = Image(size=(8, 16), channels=1, resize="pad")
    assert (image.size, image.channels, image.resize) == ((8, 16), 1, "pad")
    with pytest.raises(ValueError, match="size"):
        Image(size=0)
    with pytest.raises(ValueError, match="channels"):
        Image(channels=4)
    with pytest.raises(ValueError, match="resize"):
        Image(resize="zoom")  # type: ignore[arg-type]


def test_signal() -> None:
    signal = Image().signal([(4, 6, 3)] * 2, ("a", "b"))
    assert (signal.channels, signal.grid, signal.levels, signal.labels) == (3, (4, 6), 256, ("a", "b"))
    with pytest.raises(ValueError, match=r"32x32 and 48x40; set modality.size"):
        Image().signal([(32, 32, 3), (40, 48, 3)])
    with pytest.raises(ValueError, match=r"set modality.channels"):
        Image().signal([(4, 4, 3), (4, 4, 1)])


def test_save_and_preview(colours: np.ndarray, tmp_path: Path) -> None:
    x = torch.from_numpy(colours).permute(2, 0, 1)
    Image().save(x, tmp_path / "x.png")
    assert np.array_equal(Image().decode(tmp_path / "x.png"), colours)
    with pytest.raises(ValueError, match="png"):
        Image().save(x, tmp_path / "x.txt")
    sheet = Image().preview(torch.zeros(10, 1, 8, 8, dtype=torch.uint8), columns=5)
    assert (sheet.mode, sheet.size) == ("L", (5 * 66 + 2, 2 * 66 + 2))
    assert sheet.getpixel((2, 2)) == 0 and sheet.getpixel((1, 1)) == 255
    assert Image().preview(torch.full((3, 3, 64, 64), 300.0)).size == (2 * 66 + 2, 2 * 66 + 2)
