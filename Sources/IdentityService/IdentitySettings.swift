public import IdentityModel

/// What the configuration says of the identity service.
public struct IdentitySettings: Sendable {
    /// What `GET /api/auth/verify` answers without a session.
    public enum VerifyWithoutSession: Sendable {
        /// 200 with `authenticated: false`; a caller that presents `Authorization` gets 401 all the same.
        case ok
        /// 401.
        case unauthorized
    }

    /// `iss` of tokens and issuer of the sessions' subjects.
    public var issuer: String
    /// The scopes that each role grants.
    public var roleScopes: [Role: Set<Scope>]
    /// The session cookie.
    public var cookie: SessionCookieSettings
    /// Where browsers may be sent after signing in or out.
    public var allowedReturn: AllowedReturn
    /// A session ends after this long without use.
    public var idleTimeout: Duration
    /// A session ends after this long whatever happens.
    public var lifetime: Duration
    /// Whether `POST /api/auth/login` returns the session's token in its body.
    public var exposeSessionToken: Bool
    /// What `GET /api/auth/verify` answers without a session.
    public var verifyWithoutSession: VerifyWithoutSession

    /// Memberwise.
    public init(
        issuer: String, roleScopes: [Role: Set<Scope>], cookie: SessionCookieSettings,
        allowedReturn: AllowedReturn = AllowedReturn(), idleTimeout: Duration = .seconds(8 * 3600),
        lifetime: Duration = .seconds(8 * 3600), exposeSessionToken: Bool = true,
        verifyWithoutSession: VerifyWithoutSession = .ok
    ) {
        self.issuer = issuer
        self.roleScopes = roleScopes
        self.cookie = cookie
        self.allowedReturn = allowedReturn
        self.idleTimeout = idleTimeout
        self.lifetime = lifetime
        self.exposeSessionToken = exposeSessionToken
        self.verifyWithoutSession = verifyWithoutSession
    }
}
