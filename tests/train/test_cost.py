import json
import sys
import threading

import pytest

from clip_italian.config import Cost
from clip_italian.errors import UsageError, UserError
from clip_italian.train import cost
from clip_italian.train.cost import CodeCarbon, Meter, Part, Reading, Spent, codecarbon_tracker
from clip_italian.train.parallel import Processes
from tests.train.test_monitor import Clock
from tests.wait import until


class Fake:
    """A tracker that uses 3 kWh, from the moment it is started."""

    def __init__(self, country, seconds=1e6):
        self.seconds = seconds
        self.country, self.reading, self.trouble = country, None, "not started"
        self.calls = []

    def start(self):
        self.calls.append("start")
        self.reading = Reading(3.0, 0.9, self.seconds, "a fast processor")

    def stop(self):
        self.calls.append("stop")


def part(**other):
    return Part(
        **{
            "started": "2026-01-01T00:00:00+00:00", "seconds": 1800.0, "devices": 2, "device": "H100", "country": "ITA",
            "hourly": 4.0, "currency": "$", "energy_kwh": 1.5, "co2_kg": 0.5, "measured": 1799.0,
            "missing": None,
        } | other
    )  # fmt: skip


def meter(clock, tracker=Fake, **settings):
    return Meter(Cost(**settings), Processes(), "CPU", tracker, clock)


def test_parts_add_up():
    spent = Spent(parts=(part(), part(seconds=5400.0, devices=4, energy_kwh=2.0, co2_kg=0.25)))
    assert spent.seconds == 7200
    assert spent.devices == 4
    assert spent.device_hours == 0.5 * 2 + 1.5 * 4
    assert (spent.energy_kwh, spent.co2_kg) == (3.5, 0.75)
    assert spent.price == 4.0 * 7
    assert spent.price_per_device == 4.0 * 2
    assert str(spent) == "2:00:00 on 4 devices, 7 device hours, 3.5 kWh, 750 g CO2eq, $ 28.00"


def test_what_one_part_does_not_know_is_not_known_of_the_whole():
    spent = Spent(parts=(part(), part(energy_kwh=None, co2_kg=None, missing="no counters")))
    assert (spent.energy_kwh, spent.co2_kg, spent.missing) == (None, None, "no counters")
    assert "energy unknown (no counters)" in str(spent)


def test_there_is_no_price_without_one_in_the_recipe_or_in_two_currencies():
    assert Spent(parts=(part(hourly=0.0),)).price is None
    assert Spent(parts=(part(hourly=0.0), part())).price == 4.0
    assert Spent(parts=(part(), part(currency="€"))).price is None


def test_a_run_is_measured_and_written(tmp_path):
    clock, fake = Clock(), Fake("ITA")
    file = tmp_path / "run" / "cost.json"
    with meter(clock, lambda country: fake, hourly=2.0) as measured:
        measured.keep(file, None)
        clock.now = 900.0
        spent = measured.finish()
        clock.now = 1000.0
        assert measured.so_far() == spent
    assert fake.calls == ["start", "stop"]
    assert cost.read(file) == spent
    kept = json.loads(file.read_text())
    assert kept["device_hours"] == 0.25
    assert kept["price_per_device"] == 0.5
    assert (kept["energy_kwh"], kept["co2_kg"]) == (3.0, 0.9)
    assert kept["parts"][0]["device"] == "a fast processor"


def test_a_run_that_goes_on_adds_to_what_it_cost_before(tmp_path):
    clock, file = Clock(), tmp_path / "cost.json"
    with pytest.raises(RuntimeError), meter(clock) as measured:
        measured.keep(file, None)
        clock.now = 60.0
        raise RuntimeError
    with meter(clock) as measured:
        measured.keep(file, cost.read(file))
        clock.now = 100.0
        measured.finish()
    spent = cost.read(file)
    assert [part.seconds for part in spent.parts] == [60.0, 40.0]
    assert spent.energy_kwh == 6.0


@pytest.mark.parametrize(("seconds", "known"), [(49.0, False), (51.0, True)])
def test_energy_of_a_small_part_of_the_time_does_not_count(seconds, known):
    clock = Clock()
    with meter(clock, lambda country: Fake(country, seconds)) as measured:
        clock.now = 100.0
        spent = measured.finish()
    assert (spent.energy_kwh == 3.0) == known
    assert (spent.missing == "only 49.0 of 100.0 s were measured") != known


def test_the_file_is_written_as_the_run_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "_WRITE_EVERY", 0.01)
    clock, file = Clock(), tmp_path / "cost.json"
    with meter(clock) as measured:
        measured.keep(file, None)
        clock.now = 5.0
        until(lambda: file.is_file() and cost.read(file).seconds == 5.0)
        measured.finish()


def test_nothing_is_written_before_the_run_has_begun(tmp_path):
    with pytest.raises(UserError), meter(Clock()):
        raise UserError("no such pairs file")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_at_the_end(tmp_path):
    (tmp_path / "file").touch()
    with meter(Clock()) as measured:
        measured.keep(tmp_path / "file" / "cost.json", None)
        with pytest.raises(UserError, match="cannot be written"):
            measured.finish()


def test_without_codecarbon_time_is_recorded_and_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    clock = Clock()
    with meter(clock, codecarbon_tracker) as measured:
        clock.now = 3600.0
        spent = measured.finish()
    assert spent.device_hours == 1.0
    assert spent.energy_kwh is None
    assert "clip-italian[cost]" in spent.missing


class Broken:
    """In the place of codecarbon's tracker: fails as it does when it cannot read the hardware."""

    def __init__(self, **settings):
        pass

    def start(self):
        raise PermissionError("no counters here\nat all")

    def stop(self):
        return None


def test_hardware_that_cannot_be_read_is_told():
    clock = Clock()
    with meter(clock, lambda country: CodeCarbon(Broken, country)) as measured:
        clock.now = 1.0
        spent = measured.finish()
    assert (spent.energy_kwh, spent.missing) == (None, "codecarbon: no counters here")


def test_errors_that_codecarbon_keeps_to_itself_are_told_too(monkeypatch, capfd):
    pytest.importorskip("codecarbon")

    def fail(self):
        raise OSError("rapl: permission denied")

    monkeypatch.setattr("codecarbon.OfflineEmissionsTracker._ensure_hardware_ready", fail)
    with meter(Clock(), codecarbon_tracker) as measured:
        spent = measured.finish()
    assert (spent.energy_kwh, spent.missing) == (None, "codecarbon: rapl: permission denied")
    assert capfd.readouterr() == ("", "")


def test_codecarbon_itself_measures_quietly_and_leaves_nothing(tmp_path, monkeypatch, capfd):
    pytest.importorskip("codecarbon")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CODECARBON_OUTPUT_METHODS", "csv,api")
    monkeypatch.setenv("CODECARBON_EMISSIONS_ENDPOINT", "http://127.0.0.1:9/")

    def refuse(*arguments, **named):
        raise AssertionError(f"something was sent: {arguments}")

    monkeypatch.setattr("requests.sessions.Session.request", refuse)
    for _ in range(2):  # its first look at the hardware takes longer than this test
        with Meter(Cost(), Processes(), "CPU") as measured:
            threading.Event().wait(0.2)
            spent = measured.finish()
    assert spent.missing is None
    assert spent.energy_kwh > 0
    # Italy's power of the table that comes with codecarbon: some hundred grams a kWh.
    assert 0.1 < spent.co2_kg / spent.energy_kwh < 0.8
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_a_country_that_there_is_not_is_a_wrong_setting():
    pytest.importorskip("codecarbon")
    with pytest.raises(UsageError, match=r"cost\.country"), meter(Clock(), codecarbon_tracker, country="XXX"):
        pass


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"parts": [{"seconds": 1}]}'])
def test_a_damaged_file_is_one_line(tmp_path, text):
    (tmp_path / "cost.json").write_text(text)
    with pytest.raises(UserError, match="not what a run writes"):
        cost.read(tmp_path / "cost.json")
