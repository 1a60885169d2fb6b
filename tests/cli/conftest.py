"""The command as a function, for all tests of commands."""

import sys

import pytest

from clip_italian import cli


@pytest.fixture
def run(monkeypatch, capsys):
    """Call `clip-italian` with arguments; returns exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["clip-italian", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call
