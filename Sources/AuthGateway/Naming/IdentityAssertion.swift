import IdentityModel
import JOSE

/// Signs what the identity fields say, so that an application can check that the gateway wrote them: a JWT of 60 s with
/// the application as audience, verifiable with the key set at `/.well-known/jwks.json`.
struct AssertionSigner: Sendable {
    /// How long an assertion lives, in seconds; it is replaced after half of that.
    static let lifetimeSeconds: Int64 = 60

    private let signer: TokenSigner
    private let issuer: String

    init(key: SigningKey, issuer: String) {
        signer = TokenSigner(key: key)
        self.issuer = issuer
    }

    /// The field line, with its CRLF; `now` is in seconds since the epoch.
    func line(_ claims: SubjectClaims, kind: CredentialKind, audience: String, now: Int64) -> [UInt8]? {
        var members: [(String, JSONValue)] = [
            ("iss", .string(issuer)), ("aud", .string(audience)), ("sub", .string(claims.subject.identifier)),
            ("subject_issuer", .string(claims.subject.issuer)), ("iat", .integer(now)), ("nbf", .integer(now)),
            ("exp", .integer(now + AssertionSigner.lifetimeSeconds)), ("preferred_username", .string(claims.username)),
            ("roles", .array(claims.roles.map(\.name).sorted().map(JSONValue.string))),
            ("scope", .string(claims.scopes.map(\.name).sorted().joined(separator: " "))),
            ("groups", .array(claims.groups.map(JSONValue.string))), ("method", .string(kind.rawValue)),
        ]
        if let name = claims.displayName { members.append(("name", .string(name))) }
        if let email = claims.email { members.append(("email", .string(email))) }
        if let tenant = claims.tenant { members.append(("tenant_id", .string(tenant))) }
        guard let token = try? signer.sign(JSONObject(members)) else { return nil }
        return Array("X-Auth-Assertion: \(token)\r\n".utf8)
    }
}
