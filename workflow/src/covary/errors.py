"""The error that blames the input, not the program."""


class UserError(ValueError):
    """A configuration, file, table, model or folder cannot be used.

    The message names it and says what was expected. Jobs, the command line and the workflow show the message
    alone and exit with status 1. Every other exception is a fault of the program and keeps its traceback.
    """
