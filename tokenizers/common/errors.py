"""The error every folder raises when what the user gave breaks a rule."""


class InputError(ValueError):
    """What the user gave breaks a rule. The message is one line: the rule, what was received, what to do.

    It lives in the lowest folder so that every other one may raise it; the `clozekit` command prints its message
    without a traceback and exits with 2.
    """
