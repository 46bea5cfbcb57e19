"""What a WebSocket's handshake proves (RFC 6455 section 4.2.2)."""

import base64
import hashlib


def accept_for(key: str) -> bytes:
    """The answer to this `Sec-WebSocket-Key`."""
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    return base64.b64encode(digest)
