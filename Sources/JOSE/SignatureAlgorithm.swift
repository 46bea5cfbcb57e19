/// The signature algorithms that tokens may use (RFC 7518 section 3.1, RFC 8037 section 3.1); `none` is not among them.
public enum SignatureAlgorithm: String, Sendable, CaseIterable {
    /// ECDSA on P-256 with SHA-256.
    case es256 = "ES256"
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    case rs256 = "RS256"
    /// Ed25519.
    case edDSA = "EdDSA"
    /// HMAC with SHA-256: whoever can verify can also sign.
    case hs256 = "HS256"

    /// Whether it is verified with a secret, and so never with a public key.
    public var isSymmetric: Bool { self == .hs256 }
}

/// Why bytes are no key that we take.
public enum KeyError: Error, Equatable, CustomStringConvertible {
    /// The bytes are not what the format asks for, or no point of the curve.
    case malformed(String)
    /// A key of this kind, but one that protects nothing.
    case weak(String)
    /// OpenSSL failed without a reason that lies in the key, such as for want of memory.
    case libraryFailure

    /// What is wrong and, for a weak key, what to do; holds no part of the key.
    public var description: String {
        switch self {
        case .malformed(let what): "malformed key: \(what)"
        case .weak(let what): "weak key: \(what)"
        case .libraryFailure: "OpenSSL could not process the key"
        }
    }
}
