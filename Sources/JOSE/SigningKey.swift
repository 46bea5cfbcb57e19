/// The bytes of a private key. Printing them gives `<secret>`; each `reveal()` is a place to review.
public struct PrivateKeyBytes: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    private let bytes: [UInt8]

    /// Wraps the bytes; nothing is checked.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The bytes themselves, for the store alone.
    public func reveal() -> [UInt8] { bytes }

    /// Says that it is a secret, and nothing more.
    public var description: String { "<secret>" }
    /// Says that it is a secret, and nothing more.
    public var debugDescription: String { "<secret>" }
    /// Shows no member.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A private key for ES256.
public struct SigningKey: Sendable {
    /// The half that may be published.
    public let publicKey: PublicKey
    private let key: OpenSSLKey

    /// A new random key; the error is a failure of OpenSSL.
    public static func generate() throws(KeyError) -> SigningKey {
        guard let key = OpenSSLKey.generateP256() else { throw .libraryFailure }
        return try SigningKey(key)
    }

    /// Reads an unencrypted PKCS#8 key (RFC 5208, DER) on P-256; that its halves belong together is checked.
    public init(pkcs8 bytes: PrivateKeyBytes) throws(KeyError) {
        guard let key = OpenSSLKey(pkcs8: bytes.reveal()) else { throw .malformed("no PKCS#8 private key") }
        try self.init(key)
    }

    private init(_ key: OpenSSLKey) throws(KeyError) {
        guard let info = key.subjectPublicKeyInfo else { throw .libraryFailure }
        let prefix = PublicKey.p256Prefix
        guard info.count == prefix.count + 64, info.starts(with: prefix) else {
            throw .malformed("an ES256 key lies on P-256")
        }
        guard key.isValidPair else { throw .malformed("private and public key do not belong together") }
        publicKey = try PublicKey(p256: Array(info.suffix(64).prefix(32)), Array(info.suffix(32)))
        self.key = key
    }

    /// The key as PKCS#8 in DER, for the store.
    public func pkcs8() throws(KeyError) -> PrivateKeyBytes {
        guard let bytes = key.pkcs8 else { throw .libraryFailure }
        return PrivateKeyBytes(bytes)
    }

    /// The public key's RFC 7638 thumbprint, the `kid` under which it is published.
    public var keyID: String { publicKey.thumbprint }

    /// The ES256 signature of a message: 64 bytes, `r || s` (RFC 7518 section 3.4).
    public func signature(of message: Span<UInt8>) throws(KeyError) -> [UInt8] {
        guard let der = key.signature(of: message), let raw = ECDSASignature.raw(der: der) else {
            throw .libraryFailure
        }
        return raw
    }
}
