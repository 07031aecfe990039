"""A throwaway certificate authority, and a server's certificate for this machine signed by it.

It makes flawed certificates as well: for another host, expired, from an unknown authority.

Keys exist in memory only; the one file that `ssl` insists on reading is removed before the function
returns. Clients trust the simulator by trusting `ca_pem`. Only a simulator with TLS imports this
file, because `cryptography` takes longer to import than the rest of the simulator.
"""

import datetime
import ipaddress
import ssl
import tempfile
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trio_collector.simulator.net.identity import Flaw, ServerIdentity

LIFETIME = datetime.timedelta(days=7)
_CLOCK_SKEW = datetime.timedelta(hours=1)


class _Authority(NamedTuple):
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def create_identity() -> ServerIdentity:
    """Return an identity for `localhost`, 127.0.0.1 and ::1."""
    authority, stranger = _create_authority(), _create_authority()
    flawed = {
        flaw: _create_context(stranger if flaw is Flaw.UNTRUSTED else authority, flaw)
        for flaw in Flaw
    }
    ca_pem = authority.certificate.public_bytes(Encoding.PEM)
    return ServerIdentity(_create_context(authority), ca_pem, flawed)


def _create_authority() -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(_name("trio_collector simulator CA"), key.public_key(), None, key)
    return _Authority(key, certificate)


def _create_context(authority: _Authority, flaw: Flaw | None = None) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(_name("localhost"), key.public_key(), authority, authority.key, flaw)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder) / "chain.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(_key_pem(key) + certificate.public_bytes(Encoding.PEM))
        context.load_cert_chain(chain)
    return context


def _sign(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    ca: _Authority | None,
    ca_key: ec.EllipticCurvePrivateKey,
    flaw: Flaw | None = None,
) -> x509.Certificate:
    """Return a certificate for `key`: a server's, or without a `ca` that of the CA itself."""
    now = datetime.datetime.now(datetime.UTC)
    ended = now - datetime.timedelta(days=1)
    begin, end = (ended - LIFETIME, ended) if flaw is Flaw.EXPIRED else (now, now + LIFETIME)
    names = _FOREIGN_NAMES if flaw is Flaw.WRONG_HOST else _own_names()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.certificate.subject if ca else subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    for extension in [names, _SERVER_USAGE] if ca else [_CA_USAGE]:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.KeyUsage))
    return builder.sign(ca_key, hashes.SHA256())


def _own_names() -> x509.SubjectAlternativeName:
    loopback = [ipaddress.ip_address(address) for address in ("127.0.0.1", "::1")]
    return x509.SubjectAlternativeName([x509.DNSName("localhost"), *map(x509.IPAddress, loopback)])


_FOREIGN_NAMES = x509.SubjectAlternativeName([x509.DNSName("elsewhere.invalid")])
_SERVER_USAGE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


# Python 3.13 verifies strictly, and requires that a CA certificate states that it may sign.
_CA_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
