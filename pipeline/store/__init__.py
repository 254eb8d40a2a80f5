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


def open_store(settings: StoreSettings, home: Path) -> Store:
    """Open a campaign's store; use it as a context manager.

    Parameters
    ----------
    settings
        Address and database. The environment variable ``SABATIER_MONGODB_URI`` takes precedence over the
        address; without any address an embedded server runs in the home.
    home
        The campaign's home.

    Raises
    ------
    StoreError
        If the server cannot be started or reached, or the database is of another schema version.
    """
    from pipeline.store.connection import connect
    from pipeline.store.repository import Store

    connection = connect(settings, home)
    try:
        return Store(connection)
    except BaseException:
        connection.close()
        raise
