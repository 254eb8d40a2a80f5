"""Where a MongoDB server is and how to log in, with the secrets kept apart from what may be shown.

User and password come, in this order, from the address in ``SABATIER_MONGODB_URI``, from
``SABATIER_MONGODB_USERNAME`` and ``SABATIER_MONGODB_PASSWORD``, and from ``store.username`` and
``store.password_file`` of the campaign file. They are handed to the client as arguments: no text that
holds them is ever built. Jobs do not inherit these variables (``dft.execution``).
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote_plus

from config.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from config.campaign import StoreSettings

URI_VARIABLE = "SABATIER_MONGODB_URI"
USERNAME_VARIABLE = "SABATIER_MONGODB_USERNAME"
PASSWORD_VARIABLE = "SABATIER_MONGODB_PASSWORD"
SCHEMES = ("mongodb://", "mongodb+srv://")
MAX_PLAIN_SECRET = 3
"""Passwords up to this length are not searched for in the text of errors, characters."""
MAX_PASSWORD_FILE_BYTES = 4096
_USER_INFO = re.compile(r"(mongodb(?:\+srv)?://)(?:([^/?]*)@)?(.*)", re.DOTALL)
_SECRET_OPTION = re.compile(r"password|token", re.IGNORECASE)


@dataclass(frozen=True)
class ServerAddress:
    """A server by its address."""

    uri: str = field(repr=False)
    """Without user and password; its options may hold other secrets."""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: dict[str, Any] = field(default_factory=dict)
    """Options of pymongo: ``tls``, ``tlsCAFile``, ``tlsCertificateKeyFile``."""

    def __str__(self) -> str:
        """Scheme, hosts and database."""
        return mask(self.uri)

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for ``pymongo.MongoClient``."""
        login = {"username": self.username, "password": self.password} if self.username else {}
        return login | self.tls

    def scrub(self, text: str) -> str:
        """Replace every secret in a text, as it is and as it is written in an address."""
        options = parse_qsl(self.uri.partition("?")[2])
        secrets = [self.username, self.password, *(v for k, v in options if _SECRET_OPTION.search(k))]
        for secret in secrets:
            # Shorter than that it is no secret, and part of many a word.
            if secret and len(secret) > MAX_PLAIN_SECRET:
                for form in (secret, quote(secret, safe=""), quote_plus(secret)):
                    text = text.replace(form, "***")
        return text


def mask(uri: str) -> str:
    """Hosts and database of an address, without user, password and options."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return "***"
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def server_address(settings: StoreSettings) -> ServerAddress | None:
    """Find the server that a campaign uses; None for the embedded one.

    Raises
    ------
    ConfigError
        If the address, the login or a file of it cannot be used; no message holds a secret.
    """
    uri = os.environ.get(URI_VARIABLE) or settings.uri
    if uri is None:
        return None
    if not uri.startswith(SCHEMES):
        message = f"the environment variable {URI_VARIABLE} must start with {' or '.join(SCHEMES)}"
        raise ConfigError(message)
    address = _without_login(uri)
    if address.username is None:
        username, password = _login(settings)
        address = replace(address, username=username, password=password)
    return replace(address, tls=_tls(settings, address.uri))


def _without_login(uri: str) -> ServerAddress:
    """Take user and password out of an address."""
    found = _USER_INFO.fullmatch(uri)
    assert found is not None  # the scheme has been checked
    scheme, login, rest = found.groups()
    user, separator, password = (login or "").partition(":")
    if "@" in rest.partition("?")[0] or ":" in password or "@" in password or login in ("", ":"):
        message = (
            f"cannot use MongoDB address {mask(uri)}: write '@', ':', '/' and '%' in user and password as "
            f"%40, %3A, %2F and %25, or use {USERNAME_VARIABLE} and {PASSWORD_VARIABLE}, which take them as "
            "they are"
        )
        raise StoreError(message)
    if login is None:
        return ServerAddress(uri)
    return ServerAddress(scheme + rest, unquote_plus(user), unquote_plus(password) if separator else None)


def _login(settings: StoreSettings) -> tuple[str | None, str | None]:
    """User and password from the environment, else from the campaign file.

    Raises
    ------
    ConfigError
        If there is a password without a user, or a user without a password.
    """
    username = os.environ.get(USERNAME_VARIABLE) or settings.username
    password = os.environ.get(PASSWORD_VARIABLE)
    if not password and settings.password_file is not None:
        password = read_password(Path(settings.password_file))
    if password and not username:
        message = f"there is a MongoDB password but no user: set {USERNAME_VARIABLE} or store.username"
        raise ConfigError(message)
    if username and not password:
        message = (
            f"there is a MongoDB user {username!r} but no password: set {PASSWORD_VARIABLE}, or name a file "
            "that holds it with store.password_file"
        )
        raise ConfigError(message)
    return username, password or None


def read_password(path: Path) -> str:
    """Read the first line of a file that only its owner can read.

    Raises
    ------
    ConfigError
        If it is not such a file, or holds no password.
    """
    try:
        # Not blocking: opening a pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="utf-8") as handle:
            found = os.fstat(handle.fileno())
            if not stat.S_ISREG(found.st_mode):
                message = f"store.password_file {path} is not a regular file"
                raise ConfigError(message)
            if found.st_mode & 0o077:
                message = f"store.password_file {path} is open to others than you: chmod 600 {path}"
                raise ConfigError(message)
            password = handle.readline(MAX_PASSWORD_FILE_BYTES).rstrip("\r\n")
    except OSError as error:
        message = f"cannot read store.password_file {path}: {error.strerror}"
        raise ConfigError(message) from None
    except UnicodeDecodeError:  # its text shows the bytes
        message = f"store.password_file {path} is not text in UTF-8"
        raise ConfigError(message) from None
    if not password:
        message = f"store.password_file {path} has an empty first line, where the password should be"
        raise ConfigError(message)
    return password


def _tls(settings: StoreSettings, uri: str) -> dict[str, Any]:
    """Options of pymongo for an encrypted connection; what the address itself says comes first.

    Raises
    ------
    ConfigError
        If a file does not exist.
    """
    given = {name.lower() for name, _ in parse_qsl(uri.partition("?")[2], keep_blank_values=True)}
    files = {
        "tlsCAFile": ("tls_ca_file", settings.tls_ca_file),
        "tlsCertificateKeyFile": ("tls_certificate_key_file", settings.tls_certificate_key_file),
    }
    options: dict[str, Any] = {}
    for option, (key, path) in files.items():
        if path is not None and option.lower() not in given:
            if not os.access(path, os.R_OK):
                message = f"store.{key} {path} does not exist or cannot be read"
                raise ConfigError(message)
            options[option] = str(path)
    if (settings.tls or options) and not given & {"tls", "ssl"}:
        options["tls"] = True
    return options
