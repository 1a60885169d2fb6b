"""The cost of a training run: time, device hours, energy, CO2 and price, summed over the parts of a resumed run.

    with Meter(recipe.cost, processes, "CPU") as meter:
        meter.keep(folder / COST_FILE, earlier)   # from here on the file is written, each minute and at the end
        …
        spent = meter.finish()

runs/demo/cost.json   totals for people and programs, and the parts they were added up from

Energy and CO2 are codecarbon's (extra `cost`), in its offline mode, which sends, writes and prints nothing: read from
the machine's counters where it has some, else estimated from type and load of the processors. They are of the whole
machine, whoever else works on it. codecarbon takes some seconds to look at the hardware, so a thread does that and the
writing.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from clip_italian.config import Cost, Strict
from clip_italian.errors import UsageError, UserError
from clip_italian.files.atomic import staged
from clip_italian.train.parallel import Processes
from clip_italian.train.progress import clock_time

COST_FILE = "cost.json"
_WRITE_EVERY = 60.0  # seconds
_HOUR = 3600
_LEAST_SHARE = 0.5  # of the time that must have been measured for the energy to count
_MEASURE_EVERY = 15  # seconds, codecarbon's own default
_NOT_YET = "not measured yet"


class Part(Strict):
    """A run from its start, or from where it resumed, to its end or interruption; `seconds` of `devices` at once.

    Energy is that of the seconds `measured`: without the first one or two, and without the last before a kill.
    `missing` is the reason where there is none.
    """

    started: str
    seconds: float
    devices: int
    device: str
    country: str
    hourly: float
    currency: str
    energy_kwh: float | None
    co2_kg: float | None
    measured: float | None
    missing: str | None


class Spent(Strict):
    """All parts of a run, and their sums; a sum is None where it is unknown for a part."""

    parts: tuple[Part, ...]

    @property
    def seconds(self) -> float:
        """Wall-clock time."""
        return sum(part.seconds for part in self.parts)

    @property
    def devices(self) -> int:
        """The most at once."""
        return max(part.devices for part in self.parts)

    @property
    def device_hours(self) -> float:
        """Hours times devices."""
        return sum(part.seconds * part.devices for part in self.parts) / _HOUR

    @property
    def energy_kwh(self) -> float | None:
        """Electrical energy in kWh."""
        return _sum([part.energy_kwh for part in self.parts])

    @property
    def co2_kg(self) -> float | None:
        """CO2 equivalents in kg."""
        return _sum([part.co2_kg for part in self.parts])

    @property
    def missing(self) -> str | None:
        """The reason why energy or CO2 are unknown."""
        return next((part.missing for part in self.parts if part.missing), None)

    @property
    def currency(self) -> str:
        """Currency of the price."""
        return self.parts[-1].currency

    @property
    def price(self) -> float | None:
        """Price of all devices; None where the recipe names none, or parts name different currencies."""
        return self._price([part.seconds * part.devices for part in self.parts])

    @property
    def price_per_device(self) -> float | None:
        """Price of one device."""
        return self._price([part.seconds for part in self.parts])

    def _price(self, seconds: list[float]) -> float | None:
        if not any(part.hourly for part in self.parts) or len({part.currency for part in self.parts}) > 1:
            return None
        return sum(some / _HOUR * part.hourly for some, part in zip(seconds, self.parts, strict=True))

    def to_json(self) -> dict[str, Any]:
        """JSON data: the sums, and the parts for `from_json`."""
        names = ("seconds", "devices", "device_hours", "energy_kwh", "co2_kg", "missing", "price", "price_per_device")
        return {name: getattr(self, name) for name in (*names, "currency")} | self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The inverse of `to_json`; raises ValueError for anything else."""
        if not isinstance(data, dict) or not data.get("parts"):
            raise ValueError("no parts")
        return cls(parts=data["parts"])

    def __str__(self) -> str:
        """One human-readable line."""
        return ", ".join(
            [
                f"{clock_time(self.seconds)} on {self.devices} device{'' if self.devices == 1 else 's'}",
                f"{self.device_hours:.3g} device hours",
                quantity(self.energy_kwh, "kWh") if self.energy_kwh is not None else f"energy unknown ({self.missing})",
                *([f"{quantity(self.co2_kg, 'kg')} CO2eq"] if self.co2_kg is not None else []),
                *([f"{self.currency} {self.price:,.2f}"] if self.price is not None else []),
            ]
        )


def quantity(value: float, unit: str) -> str:
    """A number of kWh or kg to three digits, in Wh or g where it is small."""
    small = value < 1
    return f"{value * 1000 if small else value:.3g} {unit.removeprefix('k') if small else unit}"


def read(path: Path) -> Spent | None:
    """The cost in a run's file, or None without a file; raises UserError where it is damaged."""
    if not path.is_file():
        return None
    try:
        return Spent.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise UserError(f"{path}: not what a run writes; remove it to continue without the cost so far") from error


@dataclass(frozen=True)
class Reading:
    """Energy and CO2 equivalents over so many seconds since the tracker started, and the device that computed."""

    energy_kwh: float
    co2_kg: float
    seconds: float
    device: str | None


class CodeCarbon:
    """codecarbon's tracker; its thread hands over the readings, so the newest one costs nothing.

    Measures from `start` to `stop`. `reading` is the newest, or None, and then `trouble` is the reason.
    """

    def __init__(self, kind: Any, country: str) -> None:
        self.reading: Reading | None = None
        self.trouble = _NOT_YET
        self._logger = logging.getLogger("codecarbon")
        self._logger.setLevel(logging.CRITICAL)  # it logs before applying `log_level`
        # These take precedence over ~/.codecarbon.config and CODECARBON_…, which could send data.
        self._tracker = kind(
            country_iso_code=country, output_methods=[], emissions_endpoint=None, electricitymaps_api_token="",
            output_handlers=[self], api_call_interval=1, measure_power_secs=_MEASURE_EVERY, log_level="critical",
            allow_multiple_runs=True, tracking_mode="machine",
        )  # fmt: skip

    def start(self) -> None:
        """Look at the hardware and begin, which may take seconds; errors of codecarbon's become `trouble`."""
        listener = _Listener()
        # It logs its errors, which are read here and not shown on the terminal.
        self._logger.handlers, self._logger.propagate = [listener], False
        self._logger.setLevel(logging.WARNING)
        try:
            self._tracker.start()
        except Exception as error:  # whatever drivers and counters raise must not end a run
            listener.error = error
        finally:
            self._logger.setLevel(logging.CRITICAL)
        if listener.error is not None:
            self.trouble = f"codecarbon: {str(listener.error).strip().partition(chr(10))[0] or type(listener.error)}"

    def stop(self) -> None:
        """End, with a last reading where anything could be measured."""
        if self.trouble == _NOT_YET:
            self.trouble = "codecarbon gave no reading"
        try:
            self._tracker.stop()
        except Exception as error:
            self.trouble = f"codecarbon: {error}"

    def live_out(self, total: Any, delta: Any) -> None:
        """Called by codecarbon after each measurement."""
        device = f"{total.cpu_model}, {total.cpu_count} threads" if total.cpu_model else None
        self.reading = Reading(total.energy_consumed, total.emissions, total.duration, device)

    def out(self, total: Any, delta: Any) -> None:
        """Called by codecarbon at the end."""
        self.live_out(total, delta)

    def exit(self) -> None:
        """Called by codecarbon when it is done."""


class _Listener(logging.Handler):
    """Keeps the last error that was logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.error = record.exc_info[1]


def codecarbon_tracker(country: str) -> CodeCarbon | str:
    """A tracker for a machine in that country (ISO 3166, three letters), or the reason why there is none.

    Raises UsageError for a country that codecarbon has no figures of.
    """
    try:
        from codecarbon import OfflineEmissionsTracker
        from codecarbon.input import DataSource
    except ImportError as error:
        return f"{error}; pip install 'clip-italian[cost]'"
    # Its own reader of this file loads pandas, which takes most of a second.
    if country not in json.loads(Path(DataSource().global_energy_mix_data_path).read_text(encoding="utf-8")):
        raise UsageError(f"cost.country: codecarbon has no figures of {country!r}; give ISO 3166 letters, like ITA")
    return CodeCarbon(OfflineEmissionsTracker, country)


class Meter:
    """A context that measures its own cost; each process has one, the first of each machine measures energy.

    Entering raises UsageError for a country that codecarbon does not know.
    """

    def __init__(
        self, settings: Cost, processes: Processes, device: str,
        tracker: Callable[[str], CodeCarbon | str] = codecarbon_tracker, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._settings, self._processes, self._device, self._clock = settings, processes, device, clock
        self._open = tracker
        self._tracker: CodeCarbon | str = "another process of this machine measures it"
        self._file: Path | None = None
        self._earlier: tuple[Part, ...] = ()
        self._last: Spent | None = None
        self._end = threading.Event()
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        self._started, self._began = datetime.now(UTC).isoformat(timespec="seconds"), self._clock()
        if self._processes.first_on_machine:
            self._tracker = self._open(self._settings.country)
        self._thread = threading.Thread(target=self._run_beside, name="cost", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._last is None:
            self._stop()
            with suppress(OSError, UserError):  # the error that ended the block must be seen
                self._write(self.so_far())

    def keep(self, file: Path, earlier: Spent | None) -> None:
        """Write the file from now on, with the earlier parts of a resumed run."""
        with self._writing:
            self._earlier = earlier.parts if earlier else ()
            self._file = file

    def so_far(self) -> Spent:
        """The cost until now; with several machines the energy is known only at the end."""
        if self._last is not None:
            return self._last
        reading = None if isinstance(self._tracker, str) else self._tracker.reading
        if self._processes.machines > 1:
            return self._spent(None, "broken off; the other machines' is not known")
        return self._spent(reading, self._reason())

    def finish(self) -> Spent:
        """Stop measuring, and write the file; all processes must call it at once.

        Raises UserError where the file cannot be written.
        """
        self._stop()
        reading, reason = None if isinstance(self._tracker, str) else self._tracker.reading, self._reason()
        if self._processes.count > 1:
            nothing = 0.0 if not self._processes.first_on_machine else float("nan")
            own = (reading.energy_kwh, reading.co2_kg) if reading else (nothing, nothing)
            energy, co2 = self._processes.total(own)
            known = energy == energy
            reason = reason if reading is None else "another machine could not measure its energy"
            reading = replace(reading, energy_kwh=energy, co2_kg=co2) if reading and known else None
        self._last = self._spent(reading, reason)
        try:
            self._write(self._last)
        except OSError as error:
            raise UserError(f"{self._file}: cannot be written ({error.strerror}); make room, then --resume") from error
        return self._last

    def _spent(self, reading: Reading | None, reason: str) -> Spent:
        seconds = self._clock() - self._began
        device = (reading.device if reading and self._device == "CPU" else None) or self._device
        if reading is not None and reading.seconds < _LEAST_SHARE * seconds:
            reason, reading = f"only {reading.seconds:.1f} of {seconds:.1f} s were measured", None
        part = Part(
            started=self._started, seconds=round(seconds, 3), devices=self._processes.count, device=device,
            country=self._settings.country, hourly=self._settings.hourly, currency=self._settings.currency,
            energy_kwh=reading.energy_kwh if reading else None, co2_kg=reading.co2_kg if reading else None,
            measured=round(reading.seconds, 3) if reading else None, missing=None if reading else reason,
        )  # fmt: skip
        return Spent(parts=(*self._earlier, part))

    def _reason(self) -> str:
        return self._tracker if isinstance(self._tracker, str) else self._tracker.trouble

    def _run_beside(self) -> None:
        if not isinstance(self._tracker, str):
            self._tracker.start()
        while not self._end.wait(_WRITE_EVERY):
            with suppress(OSError, UserError):  # reported at the end, if it persists
                self._write(self.so_far())

    def _stop(self) -> None:
        self._end.set()
        self._thread.join()
        if not isinstance(self._tracker, str):
            self._tracker.stop()

    def _write(self, spent: Spent) -> None:
        with self._writing:
            if self._file is None or not self._processes.is_main:
                return
            with staged(self._file) as temporary:
                temporary.write_text(json.dumps(spent.to_json(), indent=2) + "\n", encoding="utf-8")


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
