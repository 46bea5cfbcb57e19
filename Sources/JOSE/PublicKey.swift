/// A public key that verifies signatures; its kind decides the algorithm, no message does.
public struct PublicKey: Sendable, Equatable {
    /// What kind of key it is, with the numbers that make it up, big-endian.
    public enum Kind: Sendable, Equatable {
        /// A point of P-256, 32 bytes each.
        case p256(x: [UInt8], y: [UInt8])
        /// Modulus and exponent without leading zeros.
        case rsa(modulus: [UInt8], exponent: [UInt8])
        /// The 32 bytes of RFC 8032 section 5.1.2.
        case ed25519([UInt8])
    }

    /// Kind and numbers.
    public let kind: Kind
    private let key: OpenSSLKey

    /// Takes a point of P-256: two coordinates of 32 bytes, on the curve.
    public init(p256 x: [UInt8], _ y: [UInt8]) throws(KeyError) {
        guard x.count == 32, y.count == 32 else { throw .malformed("a coordinate of P-256 has 32 bytes") }
        guard let key = OpenSSLKey(subjectPublicKeyInfo: PublicKey.p256Prefix + x + y), key.isValidPublicKey else {
            throw .malformed("no point of P-256")
        }
        self.init(kind: .p256(x: x, y: y), key: key)
    }

    /// Takes an RSA modulus of 2048 to 8192 bits and an odd exponent of 3 or more, both big-endian.
    public init(rsa modulus: [UInt8], _ exponent: [UInt8]) throws(KeyError) {
        let modulus = Array(modulus.drop { $0 == 0 })
        let exponent = Array(exponent.drop { $0 == 0 })
        let bits = modulus.count * 8 - (modulus.first?.leadingZeroBitCount ?? 0)
        guard bits >= PublicKey.rsaBits.lowerBound else { throw .weak("RSA needs a modulus of 2048 bits") }
        guard bits <= PublicKey.rsaBits.upperBound else { throw .malformed("RSA modulus of more than 8192 bits") }
        guard let lowest = modulus.last, lowest & 1 == 1 else { throw .malformed("RSA modulus is even") }
        guard let last = exponent.last, last & 1 == 1, exponent != [1], exponent.count <= 4 else {
            throw .malformed("RSA exponent must be odd, at least 3 and at most 32 bits")
        }
        let numbers = DER.sequence(DER.unsignedInteger(modulus), DER.unsignedInteger(exponent))
        let info = DER.sequence(PublicKey.rsaAlgorithm, DER.bitString(numbers))
        guard let key = OpenSSLKey(subjectPublicKeyInfo: info) else { throw .libraryFailure }
        self.init(kind: .rsa(modulus: modulus, exponent: exponent), key: key)
    }

    /// Takes the 32 bytes of an Ed25519 key.
    public init(ed25519 bytes: [UInt8]) throws(KeyError) {
        guard bytes.count == 32 else { throw .malformed("an Ed25519 key has 32 bytes") }
        guard let key = OpenSSLKey(subjectPublicKeyInfo: PublicKey.ed25519Prefix + bytes) else {
            throw .libraryFailure
        }
        self.init(kind: .ed25519(bytes), key: key)
    }

    private init(kind: Kind, key: OpenSSLKey) {
        self.kind = kind
        self.key = key
    }

    /// The only algorithm the key is used with.
    public var algorithm: SignatureAlgorithm {
        switch kind {
        case .p256: .es256
        case .rsa: .rs256
        case .ed25519: .edDSA
        }
    }

    /// Whether `signature`, in the form of JWS (RFC 7518 section 3), is one of this key over `message`.
    public func verifies(_ signature: [UInt8], of message: Span<UInt8>) -> Bool {
        switch kind {
        case .p256:
            guard let der = ECDSASignature.der(raw: signature) else { return false }
            return key.verifies(der, of: message, isPure: false)
        case .rsa(let modulus, _):
            return signature.count == modulus.count && key.verifies(signature, of: message, isPure: false)
        case .ed25519:
            return signature.count == 64 && key.verifies(signature, of: message, isPure: true)
        }
    }

    /// Equal when kind and numbers are.
    public static func == (left: PublicKey, right: PublicKey) -> Bool { left.kind == right.kind }

    static let rsaBits = 2048...8192

    /// SubjectPublicKeyInfo of P-256 up to the coordinates of an uncompressed point (RFC 5480 section 2).
    static let p256Prefix: [UInt8] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48,
        0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ]
    /// SubjectPublicKeyInfo of Ed25519 up to the key (RFC 8410 section 4).
    private static let ed25519Prefix: [UInt8] = [
        0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00,
    ]
    /// The AlgorithmIdentifier rsaEncryption with its NULL (RFC 3279 section 2.3.1).
    private static let rsaAlgorithm: [UInt8] = [
        0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00,
    ]
}
