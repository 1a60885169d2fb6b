"""Lines of /proc/self/mountinfo, as proc_pid_mountinfo(5) describes them."""

from pathlib import Path

import pytest

from clip_italian.files import mounts
from clip_italian.files.mounts import Mount, parse, touching


@pytest.mark.parametrize(
    ("line", "mount", "remote"),
    [
        ("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors", (36, "/mnt2", "ext3"), False),
        ("40 29 0:35 / /mnt/my\\040disk rw - nfs4 nas:/x rw", (40, "/mnt/my disk", "nfs4"), True),
        ("41 29 0:36 / /a\\134b rw shared:1 master:2 - fuse.sshfs me@host: rw", (41, "/a\\b", "fuse.sshfs"), True),
        ("42 29 8:17 / /media/stick rw shared:3 - fuseblk /dev/sdb1 rw", (42, "/media/stick", "fuseblk"), False),
    ],
)
def test_lines(line, mount, remote):
    assert parse(line) == Mount(*mount)
    assert parse(line).is_remote == remote


@pytest.mark.parametrize("line", ["", "a b c", "36 35 98:0 / /mnt rw ext3 /dev/root rw", "36 35 98:0 / /mnt rw -"])
def test_other_lines_are_no_mounts(line):
    assert parse(line) is None


def test_this_system():
    if not Path("/proc/self/mountinfo").exists():
        assert mounts.mounts() == []
        return
    found = {one.folder: one for one in mounts.mounts()}
    assert found["/proc"].kind == "proc"
    assert all(Path(folder).is_mount() for folder in list(found)[:5])


def test_mounts_that_touch_a_folder():
    root, home, photos, stick, other, over = (
        Mount(number, folder, kind)
        for number, (folder, kind) in enumerate(
            [("/", "ext4"), ("/home", "xfs"), ("/home/me/Pictures", "nfs"), ("/home/me/Pictures/stick", "vfat"),
             ("/home/me/Pictures2", "ext4"), ("/home", "btrfs")]
        )
    )  # fmt: skip
    table = [root, home, photos, stick, other]
    assert touching("/home/me/Pictures", table) == [photos, stick]
    assert touching("/home/me/Pictures/a", table) == [photos]
    assert touching("/home/me", table) == [home, photos, stick, other]
    assert touching("/home/you", [*table, over]) == [over], "the later mount covers the earlier one"
    assert touching("/srv", table) == [root]
    assert touching("/srv", []) == []
