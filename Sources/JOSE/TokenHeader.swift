/// The three parts of a compact JWS (RFC 7515 section 7.1) as places in the token.
struct TokenParts {
    let header: Range<Int>
    let payload: Range<Int>
    let signature: Range<Int>
    /// Header and payload with the dot between them.
    var signed: Range<Int> { header.lowerBound..<payload.upperBound }

    init(_ token: Span<UInt8>) throws(TokenError) {
        var dots: [Int] = []
        for index in token.indices where token[index] == UInt8(ascii: ".") {
            guard dots.count < 2 else { throw .notThreeParts }
            dots.append(index)
        }
        guard dots.count == 2 else { throw .notThreeParts }
        header = 0..<dots[0]
        payload = (dots[0] + 1)..<dots[1]
        signature = (dots[1] + 1)..<token.count
        guard !header.isEmpty, !payload.isEmpty, !signature.isEmpty else { throw .notThreeParts }
    }
}

/// What a token's header says of itself; nothing in it is believed, all of it must be permitted.
struct TokenHeader {
    let algorithm: SignatureAlgorithm
    let keyID: String?

    init(_ text: Span<UInt8>) throws(TokenError) {
        guard let bytes = Base64URL.decode(text), let object = try? JSONValue(parsing: bytes).object else {
            throw .headerMalformed
        }
        guard TokenHeader.refused.allSatisfy({ object[$0] == nil }) else { throw .headerParameterRefused }
        if let type = object["typ"] {
            guard let name = type.string else { throw .headerMalformed }
            guard TokenHeader.types.contains(name.lowercased()) else { throw .typeRefused }
        }
        guard let name = object["alg"]?.string else { throw .headerMalformed }
        guard let algorithm = SignatureAlgorithm.allCases.first(where: { $0.rawValue.isSameBytes(as: name) }) else {
            throw .algorithmRefused
        }
        self.algorithm = algorithm
        if let keyID = object["kid"] {
            guard let text = keyID.string, text.utf8.count <= JWK.keyIDBytesMax else { throw .headerMalformed }
            self.keyID = text
        } else {
            keyID = nil
        }
    }

    /// The key comes from the configuration alone, extensions are not understood, and a payload is encoded and plain.
    private static let refused = ["crit", "jku", "jwk", "x5u", "x5c", "b64", "enc", "zip"]
    /// RFC 7519 section 5.1 and RFC 9068 section 4; the prefix may be left out (RFC 7515 section 4.1.9).
    private static let types: Set<String> = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"]
}
