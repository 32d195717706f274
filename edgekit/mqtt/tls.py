"""Whom to trust, and who we are: TLS to the broker. Checked by default, whatever is wrong is refused."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from edgekit.errors import ConfigError

if TYPE_CHECKING:
    from edgekit.config.broker import TlsConfig


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho would leave it to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """How to check the broker, and to show who we are. Raises ConfigError for a file that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca and str(tls.ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"mqtt.tls.ca: {tls.ca} is no readable PEM certificate: {tls_reason(error)}"
        ) from error
    try:
        if tls.cert:
            context.load_cert_chain(str(tls.cert), tls.key and str(tls.key))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"mqtt.tls.cert: {tls.cert} and its key do not load: {tls_reason(error)}"
        ) from error
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = _ClosingSocket
    return context


def tls_reason(error: OSError) -> str:
    """The words of OpenSSL without its file names and line numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message}: check mqtt.tls.ca and mqtt.host"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.strerror or str(error)
