"""Who says so: DSSE signatures by keys that are files, and whom an environment believes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey  # type: ignore[attr-defined]  # it has no __all__

from delivery.errors import NotSigned, WrongUse

SHOWN = 12  # of a key's id, which is a hash of the public key
_MAKE = "make one: openssl genpkey -algorithm ed25519 -out key.pem"
_MAKE_PUBLIC = "write it from the private key: openssl pkey -in key.pem -pubout -out pub.pem"


def signer(pem: str, where: str) -> Signer:
    """Signs with that private key (PEM, PKCS#8, not encrypted): Ed25519 or ECDSA. No error repeats a word of the key."""
    try:
        return CryptoSigner(load_pem_private_key(pem.encode(), password=None))
    except TypeError:
        what = "the signing key is encrypted, and nobody is there to type its password"
    except (ValueError, UnsupportedAlgorithm):
        what = "the signing key is no private key in PEM that can sign"
    raise WrongUse(what, where=where, do=_MAKE)  # outside of the handler: what cryptography says may quote the key


def trusted(paths: Iterable[Path]) -> list[Key]:
    """The public keys (PEM) in those files."""
    return [_public(path) for path in paths]


def require(envelope: Envelope, keys: Sequence[Key], where: object) -> None:
    """Refuse unless one of the keys has signed this very payload."""
    known, by = {key.keyid for key in keys}, sorted(envelope.signatures)
    if not by:
        do = "give the environment that proves it a `signing_key`, and prove it there anew: `mlops deploy RELEASE --again`"
        raise NotSigned("the evidence is unsigned, and only signed evidence counts here", where=where, do=do)
    if not known.intersection(by):
        what = (
            f"the evidence is signed by {names(envelope)}, and only {', '.join(_short(known)) or 'nobody'} is believed"
        )
        raise NotSigned(
            what, where=where, do="if that key may be believed, add its public key's file to `trusted_keys`"
        )
    try:
        envelope.verify([*keys], 1)
    except (VerificationError, UnverifiedSignatureError) as error:
        what = f"the signature by {names(envelope)} does not verify: the evidence was changed after it was signed"
        do = "find out who changed it; `mlops deploy RELEASE --again` proves it anew"
        raise NotSigned(what, where=where, do=do) from error


def names(envelope: Envelope) -> str:
    """The keys that say they signed it, as a person compares them; whether they did says `require`."""
    return ", ".join(_short(envelope.signatures))


def _short(ids: Iterable[str]) -> list[str]:
    return [f"key {each[:SHOWN]}" for each in sorted(ids)]


def _public(path: Path) -> Key:
    try:
        return SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
    except OSError as error:
        what = f"a trusted key cannot be read: {error.strerror}"
        raise WrongUse(what, where=path, do=f"correct `trusted_keys`, or {_MAKE_PUBLIC}") from error
    except (ValueError, UnsupportedAlgorithm):
        what = "a trusted key is no public key in PEM that can verify"
    raise WrongUse(what, where=path, do=_MAKE_PUBLIC)
