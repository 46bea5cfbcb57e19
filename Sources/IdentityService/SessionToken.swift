internal import IdentityModel
internal import JOSE

/// What a session's cookie holds: 256 random bits in base64url, 43 characters. Only its SHA-256 is stored.
struct SessionToken: Sendable {
    let text: Secret<String>
    let key: SessionKey

    /// A new one.
    static func random() -> SessionToken {
        guard let token = SessionToken(Base64URL.encode(randomBytes(bytesCount))) else {
            preconditionFailure("a fresh token is not in our own grammar")
        }
        return token
    }

    /// Reads a presented value; whatever is not exactly a token is none.
    init?(_ text: String) {
        guard Base64URL.decode(text)?.count == SessionToken.bytesCount,
            let key = SessionKey(digest: SHA256.digest(of: Array(text.utf8)).bytes)
        else { return nil }
        self.text = Secret(text)
        self.key = key
    }

    private static let bytesCount = 32
}
