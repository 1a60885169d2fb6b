import errno
import os
import random
from pathlib import Path

import pytest
from PIL import Image

from clip_italian.errors import UsageError, UserError
from clip_italian.pictures import walk
from clip_italian.pictures.walk import Choice
from clip_italian.pipeline.rejects import Reject
from clip_italian.search.inputs import Roots, scan


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory):
    path = tmp_path_factory.mktemp("jpeg") / "a.jpg"
    Image.new("RGB", (8, 8), "red").save(path)
    return path.read_bytes()


def put(folder, content, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def names(folder, found):
    return [path.relative_to(folder).as_posix() for path in found]


def test_find_pictures(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.JPG", "sub/a.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in walk.find_pictures(tmp_path)] == ["b.JPG", "a.png"]
    with pytest.raises(UserError, match="no such folder"):
        walk.find_pictures(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures"):
        walk.find_pictures(tmp_path / "empty")
    (tmp_path / "empty" / "gone").symlink_to("nothing")
    with pytest.raises(UserError, match=r"no pictures found \(.*gone: a broken link"):
        walk.find_pictures(tmp_path / "empty")


def test_groups_are_visible_subfolders(tmp_path):
    for name in ("b", "a", ".git", "@eaDir", "__MACOSX", "lost+found"):
        (tmp_path / name).mkdir()
    (tmp_path / "c").symlink_to("a")
    (tmp_path / "file").touch()
    assert [path.name for path in walk.groups(tmp_path)] == ["a", "b", "c"]


def test_unreadable_folders_are_reported(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    for name in ("a.png", "closed/b.png"):
        (tmp_path / name).touch()
    look = os.scandir

    def scandir(place):
        if str(place).endswith("closed"):  # simulates missing permission, which root does not have
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return look(place)

    monkeypatch.setattr(os, "scandir", scandir)
    assert walk.find_pictures(tmp_path) == [tmp_path / "a.png"]
    (one,) = [one for one in scan(tmp_path, Roots()) if isinstance(one, Reject)]
    assert (one.id, one.detail) == ("closed", "cannot read the folder (Permission denied)")


def test_pictures_without_stat_are_listed(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()

    def stat(self, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    monkeypatch.setattr(Path, "stat", stat)
    assert walk.find_pictures(tmp_path) == [tmp_path / "a.png"]


def test_linked_folders_and_files_are_followed(tmp_path, jpeg):
    pictures = tmp_path / "pics"
    put(pictures, jpeg, "own.jpg")
    put(tmp_path, jpeg, "extern/a.jpg", "extern/sub/b.jpg", "single.jpg", "no-suffix")
    (pictures / "linked").symlink_to("../extern")
    (pictures / "one.jpg").symlink_to("../single.jpg")
    (pictures / "two").symlink_to(tmp_path / "no-suffix")
    found = walk.walk(pictures)
    assert names(pictures, found.pictures) == ["linked/a.jpg", "linked/sub/b.jpg", "one.jpg", "own.jpg", "two"]
    assert found.unreadable == []


def test_each_real_folder_is_visited_once(tmp_path, jpeg):
    pictures = tmp_path / "pics"
    put(pictures, jpeg, "real/a.jpg", "real/deep/b.jpg")
    put(tmp_path, jpeg, "extern/sub/c.jpg")
    (pictures / "alias").symlink_to("real")  # sorts first, but the real name is kept
    (pictures / "deep").symlink_to("real/deep")
    (pictures / "x").symlink_to("../extern")
    (pictures / "y").symlink_to("x")
    (pictures / "z").symlink_to("../extern/sub")
    found = walk.walk(pictures)
    assert names(pictures, found.pictures) == ["real/a.jpg", "real/deep/b.jpg", "x/sub/c.jpg"]
    assert found.unreadable == []
    linked = tmp_path / "to-pics"
    linked.symlink_to("pics")
    assert len(walk.find_pictures(linked)) == 3


def test_circular_links_terminate(tmp_path, jpeg):
    pictures = tmp_path / "pics"
    put(pictures, jpeg, "sub/a.jpg")
    put(tmp_path, jpeg, "extern/b.jpg", "beside/private.jpg")
    (pictures / "self").symlink_to(".")
    (pictures / "sub" / "up").symlink_to("..")
    (pictures / "linked").symlink_to("../extern")
    (tmp_path / "extern" / "back").symlink_to("../pics")
    (tmp_path / "extern" / "above").symlink_to("..")
    found = walk.walk(pictures)
    assert names(pictures, found.pictures) == ["linked/b.jpg", "sub/a.jpg"]
    ((place, reason),) = found.unreadable
    assert (place, "parent folders" in reason) == (pictures / "linked" / "above", True)


def test_broken_links_are_reported(tmp_path, jpeg):
    put(tmp_path, jpeg, "a.jpg")
    (tmp_path / "gone.jpg").symlink_to("nothing.jpg")
    (tmp_path / "folder").symlink_to("nothing")
    (tmp_path / "round").symlink_to("round")
    rejects = {one.id: one for one in scan(tmp_path, Roots()) if isinstance(one, Reject)}
    assert set(rejects) == {"folder", "gone.jpg", "round"}
    assert rejects["gone.jpg"].detail == "a broken link (No such file or directory)"


def test_pictures_with_any_name(tmp_path, jpeg):
    odd = ["a.jfif", "b.JPE", "c", "d.jpg_large", "e.jpg~", "f.dat", "g.jpg.", "h.nef"]
    put(tmp_path, jpeg, *odd)
    image = Image.new("RGB", (8, 8), "blue")
    kinds = {"PNG": "png", "GIF": "gif", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif", "PPM": "ppm"}
    kinds["JPEG2000"] = "jp2"
    for kind, name in kinds.items():
        image.save(tmp_path / name, kind)
    put(tmp_path, b"BMW e altre auto", "notes", "notes.md")
    put(tmp_path, b"", "empty", "empty.txt")
    put(tmp_path, b"%PDF-1.7", "a.pdf")
    put(tmp_path, b"P1 e P2 sono due", "piani.txt")
    os.mkfifo(tmp_path / "pipe")
    found = walk.walk(tmp_path)
    assert names(tmp_path, found.pictures) == sorted([*odd, *kinds.values()])
    assert (found.other, found.excluded, found.unreadable) == ([], [], [])


def test_other_media_are_counted(tmp_path, jpeg):
    put(tmp_path, jpeg, "a.jpg")
    Image.new("RGB", (8, 8)).save(tmp_path / "raw.NEF", "TIFF")  # the thumbnail is not the picture
    put(tmp_path, b"anything", "b.cr2", "c.svg")
    put(tmp_path, b"\0\0\0\x18ftypcrx \0\0\0\1", "canon")
    put(tmp_path, b"\xff\x0a\xfa\x1f", "a.jxl", "jxl-without-suffix")
    put(tmp_path, b"\0\0\0\x20ftypisom\0\0\2\0", "a.mp4", "video")
    put(tmp_path, b"RIFF\x10\0\0\0AVI LIST", "b.avi")
    put(tmp_path, b"8BPS\0\1", "a.psd")
    put(tmp_path, b"anything", "a.ico", "a.TGA", "a.eps", "a.tar")
    put(tmp_path, b"\0\0\0\x20ftypM4A \0\0\2\0", "song.m4a")
    found = walk.walk(tmp_path)
    assert names(tmp_path, found.pictures) == ["a.jpg"]
    assert found.skipped.other == {
        "raw": 3, "jxl": 2, "video": 3, "psd": 1, "svg": 1, "icon": 1, "tga": 1, "vector": 1, "tar": 1,
    }  # fmt: skip
    told = "other media: icon 1, jxl 2, psd 1, raw 3, svg 1, tar 1, tga 1, vector 1, video 3"
    assert str(found.skipped) == told
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(UserError, match=r"no pictures found \(other media: icon 1, jxl 2"):
        walk.find_pictures(tmp_path)


RUBBISH = {
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg": "@eaDir",
    ".thumbnails/b.jpg": ".thumbnails",
    ".@__thumb/c.jpg": ".@__thumb",
    "._a.jpg": "._*",
    ".DS_Store": ".DS_Store",
    "thumbs.DB": "Thumbs.db",
    "#recycle/d.jpg": "#recycle",
    "$RECYCLE.BIN/S-1/e.jpg": "$RECYCLE.BIN",
    "__MACOSX/._f.jpg": "__MACOSX",
    ".Trash-1000/files/g.jpg": ".Trash*",
    "GOPR1.THM": "*.thm",
    "Temporary Items/k.jpg": "Temporary Items",
    "FOUND.000/l.jpg": "FOUND.[0-9][0-9][0-9]",
    "@tmp/m.jpg": "@tmp",
    ".private/h.jpg": "hidden",
    ".i.jpg": "hidden",
}


def test_thumbnails_and_system_folders_are_excluded(tmp_path, jpeg):
    put(tmp_path, jpeg, "a.jpg", "sub/a.jpg", *RUBBISH)
    put(tmp_path, jpeg, "sub/@eaDir/x.jpg", "recycle/y.jpg", "thumbnails/z.jpg")
    found = walk.walk(tmp_path)
    assert names(tmp_path, found.pictures) == ["a.jpg", "recycle/y.jpg", "sub/a.jpg", "thumbnails/z.jpg"]
    assert found.skipped.excluded == {"@eaDir": 2, "hidden": 2} | {
        pattern: 1 for pattern in RUBBISH.values() if pattern not in ("@eaDir", "hidden")
    }
    assert names(tmp_path, walk.find_pictures(tmp_path / ".private")) == [".private/h.jpg"], "what is asked for is"


def test_copies_in_photo_libraries_are_excluded(tmp_path, jpeg):
    library = "Libreria di Foto.photoslibrary"
    originals = [f"{library}/originals/0/a.heic", "b.photolibrary/Masters/2012/b.jpg", "resources/c.jpg"]
    copies = [f"{library}/resources/derivatives/a.jpeg", f"{library}/resources/renders/a.jpeg"]
    copies += ["b.photolibrary/Thumbnails/b.jpg", "b.photolibrary/Previews/2012/b.jpg", "c.aplibrary/Previews/c.jpg"]
    put(tmp_path, jpeg, *originals, *copies)
    found = walk.walk(tmp_path)
    assert names(tmp_path, found.pictures) == sorted(originals)
    assert found.skipped.excluded == {walk.LIBRARY: 4}
    assert names(tmp_path, walk.find_pictures(tmp_path / library)) == originals[:1]
    assert len(walk.find_pictures(tmp_path, Choice(hidden=True))) == 8


def test_hidden_includes_all_except_resource_forks(tmp_path, jpeg):
    put(tmp_path, jpeg, "a.jpg", ".thumbnails/b.jpg", ".c.jpg", "@eaDir/d.jpg", "._e.jpg")
    put(tmp_path, b"\0\x05\x16\x07\0\2\0\0Mac OS X", "._a.jpg")
    found = walk.walk(tmp_path, Choice(hidden=True))
    assert names(tmp_path, found.pictures) == [
        "._e.jpg", ".c.jpg", ".thumbnails/b.jpg", "@eaDir/d.jpg", "a.jpg",
    ]  # fmt: skip
    assert found.skipped.excluded == {"._*": 1}


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.gif", ["2019/raw/b.jpg", "Città/e.jpg", "a.jpg", "foto[1]/d.jpg", "foto1/d.jpg", "raw/c.jpg"]),
        ("raw", ["Città/e.jpg", "a.gif", "a.jpg", "foto[1]/d.jpg", "foto1/d.jpg"]),
        ("raw/", ["Città/e.jpg", "a.gif", "a.jpg", "foto[1]/d.jpg", "foto1/d.jpg"]),
        ("a.jpg/", None),
        ("2019/raw", ["Città/e.jpg", "a.gif", "a.jpg", "foto[1]/d.jpg", "foto1/d.jpg", "raw/c.jpg"]),
        ("*/raw/*", ["Città/e.jpg", "a.gif", "a.jpg", "foto[1]/d.jpg", "foto1/d.jpg", "raw/c.jpg"]),
        ("/raw", ["2019/raw/b.jpg", "Città/e.jpg", "a.gif", "a.jpg", "foto[1]/d.jpg", "foto1/d.jpg"]),
        ("**/raw", ["Città/e.jpg", "a.gif", "a.jpg", "foto[1]/d.jpg", "foto1/d.jpg"]),
        ("foto[1]", ["2019/raw/b.jpg", "Città/e.jpg", "a.gif", "a.jpg", "foto1/d.jpg", "raw/c.jpg"]),
        ("Citta\u0300", ["2019/raw/b.jpg", "a.gif", "a.jpg", "foto[1]/d.jpg", "foto1/d.jpg", "raw/c.jpg"]),
    ],
)
def test_patterns(tmp_path, jpeg, pattern, left):
    every = ["2019/raw/b.jpg", "Città/e.jpg", "a.gif", "a.jpg", "foto[1]/d.jpg", "foto1/d.jpg", "raw/c.jpg"]
    put(tmp_path, jpeg, *every)
    found = walk.walk(tmp_path, Choice((pattern,)))
    assert sorted(names(tmp_path, found.pictures)) == sorted(left or every)
    assert set(found.skipped.excluded) == ({pattern} if left else set())
    absolute = Choice((str(tmp_path / "raw"),))
    assert "raw/c.jpg" not in names(tmp_path, walk.find_pictures(tmp_path, absolute))


def test_an_empty_pattern_is_an_error():
    for pattern in ("", "/", " "):
        with pytest.raises(UsageError, match="--exclude"):
            Choice((pattern,))


def test_random_first_bytes_raise_no_errors():
    draw = random.Random(0)
    seeds = [magic for magic, _ in walk._MAGIC] + [b"BM", b"RIFF", b"\0\0\0\1ftyp", b"P6", b""]
    for magic in seeds:
        for length in range(32):
            told = walk.kind_of((magic + draw.randbytes(32))[:length], ".txt")
            assert told is None or isinstance(told, str)


def test_paths_are_excluded_as_in_a_walk(tmp_path, jpeg):
    """`exclusion` says of single paths, without the disk, what a walk of the same tree leaves out."""
    tree = [
        "a.jpg", "b.gif", ".hidden/a.jpg", ".b.jpg", "x/@eaDir/c.jpg", "x/y/a.jpg", "x/drafts/z/a.jpg", "drafts.jpg",
        "My.photoslibrary/resources/a.jpg", "My.photoslibrary/originals/a.jpg", "x/._a.jpg", "x/y/Thumbs.db",
        "y/x/a.jpg", "foto[1]/a.jpg",
    ]  # fmt: skip
    put(tmp_path, jpeg, *tree)
    for choice in (Choice(), Choice(("*.gif", "drafts/", "x/y")), Choice(("/x/*/z", "**/x"), hidden=True)):
        found = {str(path) for path in walk.walk(tmp_path, choice).pictures}
        excludes = walk.exclusion(str(tmp_path), choice)
        paths = [str(tmp_path / name) for name in tree]
        assert {path for path in paths if not excludes(path)} == found
    assert not walk.exclusion(str(tmp_path), Choice(("foto[1]",)))(str(tmp_path / "foto1" / "a.jpg"))
    assert not walk.exclusion(str(tmp_path), Choice())(str(tmp_path)), "the folder itself is none of its names"
    assert not walk.exclusion(str(tmp_path), Choice())("/elsewhere/.hidden")
