import pytest
from PIL import Image

from clip_italian import images


def test_transparency_lies_on_white(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(path)
    assert images.open_picture(path).getpixel((0, 0)) == (255, 255, 255)


def test_exif_orientation_is_applied(tmp_path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    assert images.open_picture(path).size == (20, 40)


def test_every_bad_file_is_a_picture_error_with_its_path(tmp_path, monkeypatch):
    good = tmp_path / "good.jpg"
    Image.effect_noise((64, 64), 50).convert("RGB").save(good)
    truncated = tmp_path / "truncated.jpg"
    truncated.write_bytes(good.read_bytes()[:700])
    text = tmp_path / "text.png"
    text.write_text("no picture")
    empty = tmp_path / "empty.png"
    empty.touch()
    for path in (truncated, text, empty, tmp_path / "missing.png"):
        with pytest.raises(images.PictureError, match=path.name):
            images.open_picture(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(images.PictureError, match="64 x 64"):
        images.open_picture(good)


def test_fit_square_centres_and_keeps_the_shape():
    square = images.fit_square(Image.new("RGB", (20, 10), "black"), 100, margin=0.1)
    assert square.size == (100, 100)
    dark = square.convert("L").point(lambda v: 255 if v < 128 else 0).getbbox()
    assert dark == (10, 30, 90, 70)


def test_trim_cuts_the_transparent_border():
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (5, 6, 9, 12))
    assert images.trim(image).size == (4, 6)
    assert images.trim(Image.new("RGBA", (3, 3), (0, 0, 0, 0))).size == (3, 3)


def test_decode_batches_keeps_order_and_reports_errors(tmp_path):
    paths = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (number + 1, 1)).save(path)
        paths.append(path)
    paths.insert(2, tmp_path / "gone.png")
    seen = list(images.decode_batches(paths, 4, lambda image: image.width))
    assert [width for _, widths, _ in seen for width in widths] == [1, 2, 3, 4, 5]
    assert [path for good, _, _ in seen for path in good] == [p for p in paths if p.name != "gone.png"]
    assert ["gone.png" in str(error) for _, _, bad in seen for error in bad] == [True]
