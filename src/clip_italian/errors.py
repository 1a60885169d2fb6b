"""The one exception meant for people: what went wrong, where, and what to do, in one line."""


class UserError(Exception):
    """A mistake or an obstacle that the user can act on.

    The command line prints the message as one line and exits with 1; the
    library raises it like any other exception.
    """


class UsageError(UserError):
    """A wrong argument or recipe: the command line exits with 2."""
