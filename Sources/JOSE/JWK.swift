/// A public key with the name under which tokens refer to it (RFC 7517 section 4).
public struct JWK: Sendable, Equatable {
    /// Why an object is no key that we can use.
    public enum Problem: Error, Equatable, Sendable {
        /// Well-formed as far as one can tell, but of a kind or for a use that is not ours.
        case unsupported
        /// Broken, weak, or a private key where a public one belongs.
        case malformed
    }

    /// The key.
    public let key: PublicKey
    /// `kid`, at most 128 bytes; never interpreted.
    public let keyID: String?

    /// Memberwise.
    public init(key: PublicKey, keyID: String?) {
        self.key = key
        self.keyID = keyID
    }

    /// Reads an object; `use`, `key_ops` and `alg`, where present, must permit what the key is used for here.
    public init(_ object: JSONObject) throws(Problem) {
        guard let type = object["kty"]?.string else { throw .malformed }
        guard JWK.types.contains(type) else { throw .unsupported }
        guard JWK.privateMembers.allSatisfy({ object[$0] == nil }) else { throw .malformed }
        keyID = try JWK.text(object, "kid")
        if let keyID, keyID.utf8.count > JWK.keyIDBytesMax { throw .malformed }
        if let use = try JWK.text(object, "use"), use != "sig" { throw .unsupported }
        if let operations = object["key_ops"] {
            guard let names = operations.strings else { throw .malformed }
            guard names.contains("verify") else { throw .unsupported }
        }
        let key = try JWK.publicKey(type: type, object)
        if let algorithm = try JWK.text(object, "alg"), algorithm != key.algorithm.rawValue { throw .unsupported }
        self.key = key
    }

    /// Byte by byte, as far as names go.
    public static func == (left: JWK, right: JWK) -> Bool {
        guard left.key == right.key else { return false }
        return switch (left.keyID, right.keyID) {
        case (nil, nil): true
        case (let left?, let right?): left.isSameBytes(as: right)
        default: false
        }
    }

    /// The object that is published: the key, `alg`, `use` and `kid`.
    public var object: JSONObject {
        var object = key.members
        object["alg"] = .string(key.algorithm.rawValue)
        object["use"] = "sig"
        if let keyID { object["kid"] = .string(keyID) }
        return object
    }

    static let keyIDBytesMax = 128

    private static let types: Set<String> = ["EC", "RSA", "OKP"]
    /// Parts of private keys (RFC 7518 section 6), and the secret of `oct`: whoever reads the set could sign.
    private static let privateMembers = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]

    private static func publicKey(type: String, _ object: JSONObject) throws(Problem) -> PublicKey {
        switch (type, try text(object, "crv")) {
        case ("EC", "P-256"):
            let (x, y) = (try number(object, "x"), try number(object, "y"))
            return try key { () throws(KeyError) in try PublicKey(p256: x, y) }
        case ("OKP", "Ed25519"):
            let bytes = try number(object, "x")
            return try key { () throws(KeyError) in try PublicKey(ed25519: bytes) }
        case ("RSA", _):
            let (modulus, exponent) = (try number(object, "n"), try number(object, "e"))
            return try key { () throws(KeyError) in try PublicKey(rsa: modulus, exponent) }
        case (_, nil): throw .malformed
        case (_, .some): throw .unsupported
        }
    }

    private static func key(_ make: () throws(KeyError) -> PublicKey) throws(Problem) -> PublicKey {
        do { return try make() } catch { throw .malformed }
    }

    private static func text(_ object: JSONObject, _ name: String) throws(Problem) -> String? {
        guard let value = object[name] else { return nil }
        guard let text = value.string else { throw .malformed }
        return text
    }

    private static func number(_ object: JSONObject, _ name: String) throws(Problem) -> [UInt8] {
        guard let text = object[name]?.string, let bytes = Base64URL.decode(text) else { throw .malformed }
        return bytes
    }
}

extension PublicKey {
    /// The members that make up the key and no others, in the order of RFC 7638 section 3.2.
    var members: JSONObject {
        switch kind {
        case .p256(let x, let y):
            ["crv": "P-256", "kty": "EC", "x": .string(Base64URL.encode(x)), "y": .string(Base64URL.encode(y))]
        case .rsa(let modulus, let exponent):
            ["e": .string(Base64URL.encode(exponent)), "kty": "RSA", "n": .string(Base64URL.encode(modulus))]
        case .ed25519(let bytes): ["crv": "Ed25519", "kty": "OKP", "x": .string(Base64URL.encode(bytes))]
        }
    }

    /// The SHA-256 thumbprint (RFC 7638), base64url.
    public var thumbprint: String { Base64URL.encode(SHA256.digest(of: members.encoded()).bytes) }
}
