"""Exceptions with a one-line message for users: what happened, where, and what to do."""


class UserError(Exception):
    """An error that the user can fix. The command line prints its message on one line and exits with 1."""


class UsageError(UserError):
    """An invalid argument or recipe. The command line exits with 2."""
