"""Energy and CO2 of this machine by codecarbon in its offline mode: nothing is sent, written or said."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clip_italian.errors import UsageError

_EVERY = 15  # seconds between measurements, codecarbon's own default
_NOT_YET = "not measured yet"


@dataclass(frozen=True)
class Reading:
    """In kWh and kg of CO2 equivalents, over so many seconds since the tracker started; and what computed."""

    energy_kwh: float
    co2_kg: float
    seconds: float
    device: str | None


class Tracker(Protocol):
    """Measures from `start` to `stop`; `reading` is the newest, or None, and then `trouble` says why."""

    reading: Reading | None
    trouble: str

    def start(self) -> None:
        """Begin; may take seconds."""

    def stop(self) -> None:
        """End, with a last reading."""


def codecarbon_tracker(country: str) -> Tracker | str:
    """A tracker for a machine in that country (ISO 3166, three letters), or why there is none.

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


class CodeCarbon:
    """codecarbon's tracker, which hands its readings over by its thread: asking for the newest costs nothing."""

    def __init__(self, kind: Any, country: str) -> None:
        self.reading: Reading | None = None
        self.trouble = _NOT_YET
        self._logger = logging.getLogger("codecarbon")
        self._logger.setLevel(logging.CRITICAL)  # it speaks before it reads its own setting
        # What stands here takes precedence over ~/.codecarbon.config and CODECARBON_…, which could send data.
        self._tracker = kind(
            country_iso_code=country, output_methods=[], emissions_endpoint=None, electricitymaps_api_token="",
            output_handlers=[self], api_call_interval=1, measure_power_secs=_EVERY, log_level="critical",
            allow_multiple_runs=True, tracking_mode="machine",
        )  # fmt: skip

    def start(self) -> None:
        """Look at the hardware and begin; errors of codecarbon's become `trouble`."""
        listener = _Listener()
        # It turns its errors into messages, which are to be read here and not on the terminal.
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
        """End; where nothing could be measured there is still no reading."""
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
