"""What a fetch is told, and the file in the folder of shards that says so."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from clip_italian.clean.pictures import PictureLimits
from clip_italian.errors import UserError
from clip_italian.fetch.polite import Manners
from clip_italian.files.atomic import staged
from clip_italian.pipeline.parts import file_identity

SETTINGS_FILE = "fetch.job"  # JSON, but img2dataset takes each .json here for its own
INPUT_FOLDER = "input"


@dataclass(frozen=True)
class Settings:
    """What img2dataset is told: pixels of the shorter side of stored pictures (larger ones are made smaller), JPEG
    quality, pictures a shard, processes, threads of each, and which of its distributors; the rest goes to `Manners`,
    `per_host` divided among the processes."""

    size: int = 256
    quality: int = 95
    shard: int = 1_000
    workers: int = 1
    threads: int = 32
    distributor: str = "multiprocessing"
    per_host: int = 4
    timeout: float = 30.0
    retries: int = 3
    min_side: int = 64

    def manners(self) -> Manners:
        """For one process."""
        share = max(1, self.per_host // self.workers)
        limits = PictureLimits(min_side=self.min_side, max_aspect=1_000)  # narrow ones are for `clean` to judge
        return Manners(limits, per_host=share, timeout=self.timeout, retries=self.retries)


def write(settings: Settings, source: Path, output: Path) -> None:
    """Say in the folder `output` what is being done; raises UserError where it holds another job's shards.

    How fast to work may change between runs of one job.
    """
    job = {
        "input": file_identity(source),
        "size": settings.size,
        "quality": settings.quality,
        "shard": settings.shard,
        "min_side": settings.min_side,
    }
    note = output / SETTINGS_FILE
    if note.is_file() and json.loads(note.read_text(encoding="utf-8"))["job"] != job:
        raise UserError(f"{output}: holds shards of another pairs file or other settings; choose another output")
    with staged(note) as temporary:
        temporary.write_text(json.dumps({"job": job, "settings": asdict(settings)}, indent=2), encoding="utf-8")


def read(folder: Path) -> Settings:
    """What `write` wrote."""
    return Settings(**json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))["settings"])
