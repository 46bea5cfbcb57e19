/// Makes ES256 tokens (RFC 7515 section 7.1).
public struct TokenSigner: Sendable {
    private let key: SigningKey
    /// Header and dot, the same for each token.
    private let prefix: [UInt8]

    /// `type` becomes `typ`; `kid` is the key's thumbprint.
    public init(key: SigningKey, type: String = "JWT") {
        self.key = key
        let header: JSONObject = ["alg": "ES256", "typ": .string(type), "kid": .string(key.keyID)]
        prefix = Base64URL.encodedBytes(header.encoded()) + [UInt8(ascii: ".")]
    }

    /// The token with these claims as they are; the error is a failure of OpenSSL.
    public func sign(_ claims: JSONObject) throws(KeyError) -> String {
        var token = prefix
        token += Base64URL.encodedBytes(claims.encoded())
        let signature = try key.signature(of: token.span)
        token.append(UInt8(ascii: "."))
        token += Base64URL.encodedBytes(signature)
        return String(decoding: token, as: UTF8.self)
    }
}
