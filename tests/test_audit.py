"""`make audit`: exit codes and output."""

import json
import runpy
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[1] / ".ci" / "audit"
GOOD = {"name": "pillow", "version": "13.0.0", "vulns": []}
WEAK = {
    "name": "requests", "version": "2.0.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2"], "fix_versions": ["2.1", "3.0"], "description": "long"}],
}  # fmt: skip
UNKNOWN = {
    "name": "albucore",
    "skip_reason": "Dependency not found on PyPI and could not be audited: albucore (0.0.23)",
}


@pytest.fixture
def audit(tmp_path, monkeypatch, capsys):
    """Run the script on a report; returns exit code and output."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", [str(AUDIT), *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(AUDIT), run_name="__main__")
        return stop.value.code, capsys.readouterr().out

    return call


def report(tmp_path, *dependencies):
    file = tmp_path / "report.json"
    file.write_text(json.dumps({"dependencies": dependencies, "fixes": []}))
    return file


def test_unknown_packages_are_named_and_do_not_fail(audit, tmp_path):
    code, out = audit(report(tmp_path, UNKNOWN, GOOD))
    assert code == 0
    assert "albucore (0.0.23)" in out
    assert "1 of 2 packages audited, 0 known weaknesses" in out


def test_each_vulnerability_fails_with_a_line(audit, tmp_path):
    code, out = audit(report(tmp_path, UNKNOWN, WEAK, GOOD))
    assert code == 1
    assert "requests 2.0.0: PYSEC-1, CVE-2; fixed in 2.1, 3.0\n" in out
    assert "albucore" in out and "2 of 3 packages audited, 1 known weaknesses" in out


def test_an_empty_audit_is_reported(audit, tmp_path):
    code, out = audit(report(tmp_path, UNKNOWN))
    assert (code, "careful: nothing could be audited" in out) == (0, True)


def program(tmp_path, body):
    """Write a shell script that replaces pip-audit."""
    file = tmp_path / "pip-audit"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


def test_a_failure_of_the_program_has_another_exit_code(audit, tmp_path):
    code, out = audit(program(tmp_path, "echo 'no network' >&2; exit 1"), "constraints.txt")
    assert code == 2
    assert "no network" in out and "could not be made" in out


def test_the_report_is_read_whatever_the_exit_code(audit, tmp_path):
    made = report(tmp_path, WEAK)
    copy = f'while [ "$1" != --output ]; do shift; done; cp {made} "$2"; exit 1'
    code, out = audit(program(tmp_path, copy), "constraints.txt")
    assert (code, "1 of 1 packages audited, 1 known weaknesses" in out) == (1, True)
