"""Mounted file systems, as /proc/self/mountinfo lists them. Without that file (outside Linux) none are known."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clip_italian.files.names import is_below

_TABLE = Path("/proc/self/mountinfo")
# File systems whose files other machines, or the host of this virtual machine, may change: the kernel reports only the
# changes of its own processes. The same holds for most of the programs behind "fuse.…" (sshfs, rclone, gvfsd-fuse).
_REMOTE = frozenset(
    "9p afs beegfs ceph cifs coda davfs drvfs fakeowner gfs2 glusterfs lustre ncpfs nfs nfs4 ocfs2 orangefs prl_fs"
    " smb3 smbfs vboxsf virtiofs vmhgfs".split()
)
_ESCAPED = re.compile(r"\\([0-7]{3})")  # space, tab, line break and backslash


class Mount(NamedTuple):
    """A mounted file system: the kernel's number of this mount, where it is, and its type (`ext4`, `nfs4`)."""

    number: int
    folder: str
    kind: str

    @property
    def is_remote(self) -> bool:
        """True where others may change files without this system being told."""
        return self.kind in _REMOTE or self.kind.startswith("fuse.")


def mounts() -> list[Mount]:
    """All mounts that this process sees."""
    try:
        lines = _TABLE.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    return [mount for line in lines if (mount := parse(line)) is not None]


def parse(line: str) -> Mount | None:
    """The mount in a line of mountinfo (see proc_pid_mountinfo(5)), None for a line of another form."""
    fields = line.split(" ")
    try:
        # Optional fields end with "-"; the type follows it.
        number, folder, kind = int(fields[0]), fields[4], fields[fields.index("-", 6) + 1]
    except (ValueError, IndexError):
        return None
    return Mount(number, _ESCAPED.sub(lambda match: chr(int(match[1], 8)), folder), kind)


def touching(path: str, known: Sequence[Mount]) -> list[Mount]:
    """Of `known`, the mount that holds an absolute path, and those below the path."""
    holding = [one for one in known if is_below(path, one.folder)]
    # Of mounts on the same folder the last one covers the others.
    holder = max(enumerate(holding), key=lambda at: (len(at[1].folder), at[0]), default=None)
    below = [one for one in known if one.folder != path and is_below(one.folder, path)]
    return ([holder[1]] if holder else []) + below
