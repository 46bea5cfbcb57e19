/// What a token says, once its signature and the claims of RFC 7519 section 4.1 have been checked.
public struct VerifiedToken: Sendable, Equatable {
    /// `iss`.
    public let issuer: String
    /// `sub`, 1 to 255 bytes.
    public let subject: String
    /// `exp`, in whole seconds since the epoch, rounded down.
    public let expiresAt: Int64
    /// `nbf`, in whole seconds since the epoch, rounded up.
    public let notBefore: Int64?
    /// The first second at which the token may be used, the clock skew allowed for.
    public let usableFrom: Int64
    /// The first second at which it may not be used any more, the clock skew allowed for.
    public let usableUntil: Int64
    /// Every claim, those above included.
    public let claims: JSONObject
    /// `kid`, as the token has it.
    public let keyID: String?
    /// The algorithm of the key that signed it.
    public let algorithm: SignatureAlgorithm

    /// Whether a token that was verified earlier may be used at `now`, in seconds since the epoch.
    public func isUsable(at now: Int64) -> Bool { usableFrom <= now && now < usableUntil }
}
