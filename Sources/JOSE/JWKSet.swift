/// Why a text is no set of keys.
public enum JWKSetError: Error, Equatable, CustomStringConvertible {
    /// The text is no JSON, or longer than `JWKSet.bytesMax`.
    case notJSON(JSONError)
    /// There is no member `keys` that is an array of objects.
    case noKeys
    /// There are more than `JWKSet.keysMax` keys.
    case tooManyKeys(Int)

    /// What is wrong, without any of the text.
    public var description: String {
        switch self {
        case .notJSON(let error): "no JSON: \(error)"
        case .noKeys: "no JWK set: there is no array 'keys'"
        case .tooManyKeys(let count): "\(count) keys; at most \(JWKSet.keysMax) are read"
        }
    }
}

/// The public keys of an issuer (RFC 7517 section 5). Secrets cannot be in it.
public struct JWKSet: Sendable, Equatable {
    /// Members of `keys` that are looked at.
    public static let keysMax = 64
    /// Length of the text.
    public static let bytesMax = 256 << 10
    /// Keys that are tried for one token, should several fit.
    public static let candidatesMax = 4

    /// The usable keys in the order of the text; no two are alike.
    public let keys: [JWK]
    /// Keys of another kind or for another use, passed over as RFC 7517 section 5 asks.
    public let unsupportedCount: Int
    /// Keys passed over because they are broken, weak or private; worth a warning.
    public let malformedCount: Int

    /// A set of keys that are there already.
    public init(_ keys: [JWK]) {
        self.init(keys, unsupportedCount: 0, malformedCount: 0)
    }

    /// Reads the text of a set; keys that cannot be used are passed over and counted.
    public init(parsing bytes: [UInt8]) throws(JWKSetError) {
        let value: JSONValue
        do { value = try JSONValue(parsing: bytes, bytesMax: JWKSet.bytesMax) } catch { throw .notJSON(error) }
        guard let members = value["keys"]?.array else { throw .noKeys }
        guard members.count <= JWKSet.keysMax else { throw .tooManyKeys(members.count) }
        var keys: [JWK] = []
        var unsupportedCount = 0
        var malformedCount = 0
        for member in members {
            guard let object = member.object else { throw .noKeys }
            do { keys.append(try JWK(object)) } catch {
                switch error {
                case .unsupported: unsupportedCount += 1
                case .malformed: malformedCount += 1
                }
            }
        }
        self.init(keys, unsupportedCount: unsupportedCount, malformedCount: malformedCount)
    }

    private init(_ keys: [JWK], unsupportedCount: Int, malformedCount: Int) {
        var distinct: [JWK] = []
        for key in keys where !distinct.contains(key) { distinct.append(key) }
        self.keys = distinct
        self.unsupportedCount = unsupportedCount
        self.malformedCount = malformedCount
    }

    /// The keys that may have signed a token: of its algorithm, and of its `kid` where it has one.
    ///
    /// Several may share a `kid` (RFC 7517 section 4.5 only advises against it); at most `candidatesMax` are given.
    public func candidates(keyID: String?, algorithm: SignatureAlgorithm) -> [PublicKey] {
        let fitting = keys.lazy.filter { jwk in
            guard jwk.key.algorithm == algorithm else { return false }
            guard let keyID else { return true }
            return jwk.keyID?.isSameBytes(as: keyID) ?? false
        }
        return Array(fitting.prefix(JWKSet.candidatesMax).map(\.key))
    }

    /// The set as it is published, `{"keys": […]}` in UTF-8.
    public func encoded() -> [UInt8] {
        let object: JSONObject = ["keys": .array(keys.map { .object($0.object) })]
        return object.encoded()
    }
}
