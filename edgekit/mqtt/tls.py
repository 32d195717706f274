"""Whom to trust, and who we are: TLS to the broker. Checked by default, whatever is wrong is refused."""

from __future__ import annotations

import logging
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edgekit.errors import ConfigError

if TYPE_CHECKING:
    from edgekit.config.broker import TlsConfig

_log = logging.getLogger("edgekit.mqtt")
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")  # what OpenSSL calls an answer without any
_CLOCK = "unless this machine's clock is wrong"
_AUTHORITY = "set mqtt.tls.ca to the certificate of its authority"
_ADVICE = {  # by X509_V_ERR_...
    9: f"renew it, {_CLOCK}",  # not yet valid
    10: f"renew it, {_CLOCK}",  # expired
    62: "set mqtt.host to a name that stands in it",
    64: "set mqtt.host to an address or name that stands in it",
}


class NoTlsError(OSError):
    """Who answers does not speak TLS."""


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho would leave it to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError as error:
            self.close()
            if _is_no_tls(error):
                raise NoTlsError(tls_reason(error)) from error
            raise


def _is_no_tls(error: OSError) -> bool:
    hung_up = isinstance(error, ConnectionError | TimeoutError | ssl.SSLEOFError)
    return hung_up or getattr(error, "reason", None) in _NOT_TLS


def tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """How to check the broker, and to show who we are. Raises ConfigError for a file that cannot be used."""
    for name, fault in tls_faults(tls).items():
        raise ConfigError(f"mqtt.tls.{name}: {fault}")
    context = ssl.create_default_context(cafile=tls.ca and str(tls.ca))
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    if tls.insecure:
        _log.warning("mqtt.tls.insecure: the certificate of the broker is not checked")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = _ClosingSocket
    return context


def tls_faults(tls: TlsConfig) -> dict[str, str]:
    """What is wrong with the files of `ca`, `cert` and `key`, by these names; nothing of what loads."""
    faults = {"ca": _certificate_fault(tls.ca), "cert": _certificate_fault(tls.cert)}
    if tls.cert:
        faults["key"] = _missing_fault(tls.key) if faults["cert"] else _key_fault(tls.cert, tls.key)
    return {name: fault for name, fault in faults.items() if fault}


def _certificate_fault(path: Path | None) -> str | None:
    try:
        if path:
            _check_file(path)
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        return f"{path} is no readable PEM certificate: {tls_reason(error)}"
    return None


def _missing_fault(key: Path | None) -> str | None:
    """Of a key whose certificate cannot be read."""
    try:
        if key:
            _check_file(key)
    except OSError as error:
        return f"{key} is no readable PEM key: {tls_reason(error)}"
    return None


def _key_fault(cert: Path, key: Path | None) -> str | None:
    try:
        if key:
            _check_file(key)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, _no_passphrase)
    except OSError as error:
        return f"{key} is not the readable PEM key of {cert}: {tls_reason(error)}"
    return None


def _check_file(path: Path) -> None:
    """Raises OSError, with what to do, for what cannot be read, or would be waited for."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no file")
        path.open("rb").close()
    except FileNotFoundError:
        raise OSError("there is no such file; copy it there, or correct the path") from None
    except PermissionError as error:
        raise OSError(f"{error.strerror} for this user; see ls -l {path}") from None


def _no_passphrase() -> NoReturn:
    """OpenSSL would ask for it at the terminal."""
    raise OSError("it has a passphrase, expected one without")


def tls_reason(error: OSError) -> str:
    """The words of OpenSSL without its file names and line numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message.rstrip('.')}: {_ADVICE.get(error.verify_code, _AUTHORITY)}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return re.sub(r"^\[SSL\] | \(_ssl\.c:\d+\)$", "", error.strerror or str(error))
