/// A secret for HS256. No initialiser takes a `PublicKey`, and no function takes either: the two cannot be mixed up.
public struct SymmetricKey: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    private let bytes: [UInt8]

    /// Takes a secret of 32 bytes or more (RFC 7518 section 3.2).
    ///
    /// Refused as weak are shorter ones, those with fewer than eight different bytes, those that contain the words of
    /// well-known samples, and those that are a PEM file or a JWK: a public key in the place of the secret would let
    /// everybody sign.
    public init(_ bytes: [UInt8]) throws(KeyError) {
        guard bytes.count >= SymmetricKey.bytesMin else { throw .weak("an HS256 secret needs 32 bytes or more") }
        guard Set(bytes).count >= 8 else { throw .weak("the secret has hardly any different bytes; make a random one") }
        let text = String(decoding: bytes, as: UTF8.self).lowercased()
        guard !text.contains("-----begin"), !text.contains("\"kty\"") else {
            throw .weak("the secret is a key file; HS256 needs a random secret that nobody else knows")
        }
        guard !SymmetricKey.sampleWords.contains(where: text.contains) else {
            throw .weak("the secret is a well-known sample; make a random one")
        }
        self.bytes = bytes
    }

    /// The HS256 signature of a message.
    public func authenticationCode(of message: Span<UInt8>) -> SHA256Digest {
        HMAC.sha256(key: bytes, message)
    }

    /// Whether `signature` is the one of this key over `message`, in time that does not depend on its content.
    public func verifies(_ signature: [UInt8], of message: Span<UInt8>) -> Bool {
        isEqualInConstantTime(signature, authenticationCode(of: message).bytes)
    }

    /// Says that it is a secret, and nothing more.
    public var description: String { "<secret>" }
    /// Says that it is a secret, and nothing more.
    public var debugDescription: String { "<secret>" }
    /// Shows no member.
    public var customMirror: Mirror { Mirror(self, children: []) }

    static let bytesMin = 32

    private static let sampleWords = [
        "256-bit-secret", "256-bits-long", "change-me", "change_me", "changeme", "change-in-production",
        "change in production", "secret-key-here", "your-secret", "your_secret", "supersecret", "super-secret",
        "django-insecure",
    ]
}
