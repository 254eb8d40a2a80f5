"""The one root of every error that Sabatier raises on purpose.

Commands turn a :class:`SabatierError` into one line on stderr and its ``exit_code``; anything else
that escapes is a bug. The failure of a *calculation* is never an exception: it is a code on the
calculation (see ``dft.codes``).
"""

from __future__ import annotations


class SabatierError(Exception):
    """Root of all expected errors; the message is written for the user."""

    exit_code = 1


class ConfigError(SabatierError):
    """A campaign file, option or argument asks for something that does not exist or cannot be."""

    exit_code = 2


class MissingExtraError(SabatierError):
    """A feature needs an optional dependency; the message names the extra to install."""

    exit_code = 2


class StructureError(SabatierError):
    """A structure cannot be read, or cannot be used as a bulk, surface or site."""

    exit_code = 2


class StoreError(SabatierError):
    """The store cannot be started, reached, or is of another schema version."""


class ExecutionError(SabatierError):
    """A job cannot be submitted or its directory cannot be used."""


class BackendUnavailableError(ExecutionError):
    """The scheduler does not answer now; nothing is known, and asking again later may help."""
