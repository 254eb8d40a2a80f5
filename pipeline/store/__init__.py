"""The store: what a campaign knows, kept in MongoDB.

``open_store`` is the door; everything else comes through the :class:`~pipeline.store.repository.Store`
that it returns. Importing this package does not import MongoDB's libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from config.campaign import StoreSettings
    from pipeline.store.repository import Store


def open_store(settings: StoreSettings, home: Path, *, patience_seconds: float | None = None) -> Store:
    """Open a campaign's store; use it as a context manager.

    Parameters
    ----------
    settings
        Address, login and database. The environment variable ``SABATIER_MONGODB_URI`` takes precedence over
        the address; without any address an embedded server runs in the home.
    home
        The campaign's home.
    patience_seconds
        How long an operation is tried again while the database is away; a minute when left out. A driver
        rides out ``store.outage_minutes``, a person waits less long.

    Raises
    ------
    StoreError
        If the server cannot be started or reached, or the database is of another schema version.
    """
    from pipeline.store.connection import PATIENCE_SECONDS, connect
    from pipeline.store.repository import Store

    patience = PATIENCE_SECONDS if patience_seconds is None else patience_seconds
    connection = connect(settings, home, patience)
    try:
        return Store(connection)
    except BaseException:
        connection.close()
        raise
