/// Who a request acts for. Always the pair: two issuers that both know an `admin` know two people.
public struct Subject: Hashable, Sendable {
    /// The issuer of the token, or the identity service's own issuer for a session.
    public let issuer: String
    /// The issuer's stable identifier: a token's `sub`, a user's opaque subject string.
    public let identifier: String

    /// Makes the pair; neither part is interpreted.
    public init(issuer: String, identifier: String) {
        self.issuer = issuer
        self.identifier = identifier
    }

    /// Byte for byte: Swift's own equality of strings takes canonically equivalent spellings for one, and so would
    /// make one subject of two.
    public static func == (left: Subject, right: Subject) -> Bool {
        left.issuer.utf8.elementsEqual(right.issuer.utf8)
            && left.identifier.utf8.elementsEqual(right.identifier.utf8)
    }

    /// Of the bytes.
    public func hash(into hasher: inout Hasher) {
        for byte in identifier.utf8 { hasher.combine(byte) }
        hasher.combine(issuer.utf8.count)
    }
}

/// What a verified credential says of its subject; the decision is made from this and nothing else.
public struct SubjectClaims: Sendable, Equatable {
    /// The pair that caches, limits and logs use as key.
    public var subject: Subject
    /// The name the application knows the user by: the directory's `username`, a token's mapped claim.
    public var username: String
    /// The display name, where the source has one.
    public var displayName: String?
    /// The e-mail address, where the source has one.
    public var email: String?
    /// Roles given by the source; those that follow from scopes are added by `Policy`.
    public var roles: Set<Role>
    /// Every scope granted, those that roles grant included.
    public var scopes: Set<Scope>
    /// Groups, in the order of the source.
    public var groups: [String]
    /// The tenant, where the source has one.
    public var tenant: String?

    /// Memberwise.
    public init(
        subject: Subject, username: String, displayName: String? = nil, email: String? = nil, roles: Set<Role> = [],
        scopes: Set<Scope> = [], groups: [String] = [], tenant: String? = nil
    ) {
        self.subject = subject
        self.username = username
        self.displayName = displayName
        self.email = email
        self.roles = roles
        self.scopes = scopes
        self.groups = groups
        self.tenant = tenant
    }
}

/// The kind of credential that was presented and judged.
public enum CredentialKind: String, Sendable, CaseIterable {
    /// No credential: a public route, or an optional one without any.
    case none
    /// The session cookie.
    case session
    /// `Authorization: Bearer` with a JWT.
    case jwt
    /// A client certificate, verified in the TLS handshake.
    case certificate
}
