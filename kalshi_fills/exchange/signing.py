"""Private keys and request signatures.

The algorithm follows from the parsed key, never from its PEM header: RSA keys sign with PSS over
SHA-256, Ed25519 keys sign the text itself. A signature covers the millisecond timestamp, the
method and the path from the host's root, without the query (API reference, "Authentication").
"""

from __future__ import annotations

import base64
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kalshi_fills.errors import SettingsError

PrivateKey = RSAPrivateKey | Ed25519PrivateKey

_SHA256: Final = hashes.SHA256()

_PADDING: Final = PSS(mgf=MGF1(_SHA256), salt_length=_SHA256.digest_size)

_HINT = (
    "point --private-key at the file that Kalshi's API keys page gave you once; a lost key cannot "
    "be had again: make a new one there"
)


class Signer:
    """Signs requests with one API key, of which its repr shows nothing."""

    def __init__(self, key_id: str, private_key: PrivateKey) -> None:
        self.key_id = key_id
        self._private_key = private_key

    def __repr__(self) -> str:
        return "Signer(***)"

    def headers(self, method: str, path: str, timestamp_ms: int) -> dict[str, str]:
        """Return the three headers for one attempt; they go stale, so make them anew for each."""
        text = f"{timestamp_ms}{method.upper()}{path}".encode()
        key = self._private_key
        if isinstance(key, RSAPrivateKey):
            signature = key.sign(text, _PADDING, _SHA256)
        else:
            signature = key.sign(text)
        return {
            "KALSHI-ACCESS-KEY": self.key_id,
            "KALSHI-ACCESS-TIMESTAMP": str(timestamp_ms),
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
        }


def read_private_key(pem: str, where: str) -> PrivateKey:
    """Return a private key from its PEM text (PKCS#1 or PKCS#8), RSA or Ed25519.

    Args:
        pem: the text of the key.
        where: what to call its origin in an error, such as the file's path.

    Raises:
        SettingsError: it is no PEM key, encrypted, or of another kind.
    """
    if "-----BEGIN" not in pem:
        raise SettingsError(f"{where} holds no PEM private key", hint=_HINT)
    try:
        # Whether the primes are primes takes longer to find out than all else at the start; whether
        # the key works, one signature shows.
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
        if isinstance(key, RSAPrivateKey):
            signature = key.sign(b"", _PADDING, _SHA256)
            key.public_key().verify(signature, b"", _PADDING, _SHA256)
    except TypeError:
        raise SettingsError(
            f"the private key in {where} is encrypted with a passphrase",
            hint="write an unencrypted copy with `openssl pkey -in KEY -out NEW` and chmod 600 it",
        ) from None
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        # The library's text may quote the key.
        raise SettingsError(f"the private key in {where} cannot be read", hint=_HINT) from None
    if isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        return key
    kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
    raise SettingsError(
        f"the private key in {where} is of kind {kind}, Kalshi takes RSA and Ed25519 keys",
        hint=_HINT,
    )
