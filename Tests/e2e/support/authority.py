"""A certificate authority of a test's own: certificates, revocation lists and OCSP responses."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Issued:
    """A certificate with its key, as files too."""

    def __init__(self, certificate: x509.Certificate, key, chain: bytes, folder: Path, label: str):
        self.certificate = certificate
        self.key = key
        self.path = str(folder / f"{label}.pem")
        self.key_path = str(folder / f"{label}-key.pem")
        Path(self.path).write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + chain)
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        Path(self.key_path).write_bytes(text)
        Path(self.key_path).chmod(0o600)

    def files(self, **more: str) -> dict[str, str]:
        """As an entry of `certificates`."""
        return {"certificate": self.path, "key": self.key_path, **more}


class Authority:
    """Signs with a key of its own; `parent` makes it an intermediate one."""

    def __init__(self, folder: Path, label: str = "authority", parent: "Authority | None" = None):
        self.folder = folder
        self.label = label
        self.parent = parent
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = name(label)
        usage = x509.KeyUsage(
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
        signer = parent or self
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(signer.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + 300 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(signer.key, hashes.SHA256())
        )
        self.path = str(folder / f"{label}.pem")
        Path(self.path).write_bytes(self.pem)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        label: str,
        names: list[x509.GeneralName] | None = None,
        *,
        is_client: bool = False,
        is_rsa: bool = False,
        until: datetime.datetime | None = None,
        subject: x509.Name | None = None,
    ) -> Issued:
        key = rsa.generate_private_key(65537, 2048) if is_rsa else ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if is_client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(label) if subject is None else subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(until or NOW + 200 * DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        chain = self.pem if self.parent else b""
        return Issued(certificate, key, chain, self.folder, label)

    def revocations(self, *revoked: Issued, until: datetime.datetime | None = None) -> bytes:
        """A revocation list in PEM."""
        end = until or NOW + DAY
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.subject)
        builder = builder.last_update(min(NOW - DAY, end - DAY)).next_update(end)
        for issued in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(issued.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def status(
        self,
        issued: Issued,
        *,
        until: datetime.datetime | None = None,
        begin: datetime.datetime | None = None,
        good: bool = True,
    ) -> bytes:
        """An OCSP response in DER."""
        end = until or NOW + DAY
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=issued.certificate,
            issuer=self.certificate,
            algorithm=hashes.SHA1(),  # noqa: S303 - as responders do (RFC 5019 section 2.1.1)
            cert_status=ocsp.OCSPCertStatus.GOOD if good else ocsp.OCSPCertStatus.REVOKED,
            this_update=begin or min(NOW, end) - DAY,
            next_update=end,
            revocation_time=None if good else NOW - DAY,
            revocation_reason=None,
        )
        # With the signer's certificate: not every client looks for it in the server's chain.
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate)
        builder = builder.certificates([self.certificate])
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def email(text: str) -> x509.RFC822Name:
    return x509.RFC822Name(text)


def dns(text: str) -> x509.DNSName:
    return x509.DNSName(text)


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)
