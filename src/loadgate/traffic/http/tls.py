"""Encrypt and decrypt for one connection, without doing any I/O: the sockets stay the connection's."""

from __future__ import annotations

import ssl

from loadgate.traffic.http.faults import TLS, Fault

_PIECE = 256 * 1024


class TlsChannel:
    """Seal what is to be sent and open what was received; `ended` is True once the peer said goodbye."""

    __slots__ = ("_incoming", "_object", "_outgoing", "ended")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.ended = False

    def shake(self, received: bytes | None) -> tuple[bool, bytes]:
        """Go on with the handshake; return whether it is done and what to send. Fault `tls` if it fails.

        `received` is None at the start, b"" when the peer closed the connection.
        """
        if received:
            self._incoming.write(received)
        elif received is not None:
            raise Fault(TLS, "the server closed the connection during the TLS handshake")
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False, self._outgoing.read()
        except ssl.SSLCertVerificationError as error:
            raise Fault(TLS, f"the certificate was not accepted: {error.verify_message}") from error
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise Fault(TLS, str(getattr(error, "reason", None) or error)) from error
        return True, self._outgoing.read()

    def seal(self, data: bytes) -> bytes:
        """Return the records that carry `data`."""
        try:
            self._object.write(data)
        except ssl.SSLError as error:
            raise Fault(TLS, str(error.reason or error)) from error
        return self._outgoing.read()

    def open(self, received: bytes) -> bytes:
        """Return what the received records carry, perhaps nothing yet; Fault `tls` if they are broken."""
        self._incoming.write(received)
        parts: list[bytes] = []
        try:
            while True:
                part = self._object.read(_PIECE)
                if not part:
                    self.ended = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            raise Fault(TLS, str(error.reason or error)) from error
        return b"".join(parts)
