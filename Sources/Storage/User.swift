public import IdentityModel

/// A record in the directory.
public struct User: Sendable, Equatable {
    /// The integer identifier; never reused.
    public let id: Int64
    /// The opaque identifier that tokens carry as `sub`; never changes, never reused.
    public let subject: String
    /// The name the applications know the user by.
    public let username: String
    /// The e-mail address, where there is one.
    public let email: String?
    /// The name for people to read.
    public let displayName: String
    /// Roles held.
    public let roles: Set<Role>
    /// Switched off by an administrator when `false`.
    public let isActive: Bool
    /// Shut out for now.
    public let isLocked: Bool
    /// One of the accounts with published passwords.
    public let isSample: Bool
    /// Seconds since the epoch.
    public let createdAt: Int64
    /// Seconds since the epoch.
    public let updatedAt: Int64

    /// The rule that every path to a session or a token asks, and every use of a session again.
    public var mayStartSession: Bool { isActive && !isLocked }

    /// Every scope that the user's roles grant.
    public func scopes(in roleScopes: [Role: Set<Scope>]) -> Set<Scope> {
        roles.reduce(into: []) { $0.formUnion(roleScopes[$1] ?? []) }
    }
}

/// A user about to be created.
public struct NewUser: Sendable {
    /// The opaque identifier; 128 random bits in hexadecimal unless given.
    public var subject: String
    /// The name the applications know the user by.
    public var username: LoginName
    /// The e-mail address.
    public var email: LoginName?
    /// The name for people to read.
    public var displayName: String
    /// `nil`: the user cannot sign in by password.
    public var passwordHash: Secret<String>?
    /// Roles held.
    public var roles: Set<Role>
    /// One of the accounts with published passwords.
    public var isSample: Bool

    /// `nil` when the address has no form of one, or the display name is empty, longer than 200 bytes, or holds
    /// control characters.
    public init?(
        username: LoginName, email: LoginName?, displayName: String, passwordHash: Secret<String>?,
        roles: Set<Role> = [], isSample: Bool = false, subject: String = NewUser.randomSubject()
    ) {
        guard email?.isEmail ?? true, (1...200).contains(displayName.utf8.count),
            displayName.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control })
        else { return nil }
        self.subject = subject
        self.username = username
        self.email = email
        self.displayName = displayName
        self.passwordHash = passwordHash
        self.roles = roles
        self.isSample = isSample
    }

    /// 128 bits from the system's generator, as 32 hexadecimal digits.
    public static func randomSubject() -> String {
        var generator = SystemRandomNumberGenerator()
        return (0..<16).map { _ in
            let byte = String(UInt8.random(in: .min ... .max, using: &generator), radix: 16)
            return byte.count == 1 ? "0" + byte : byte
        }.joined()
    }
}

/// What a sign-in needs of a user.
public struct SignInRecord: Sendable {
    /// The user.
    public let user: User
    /// The stored hash; `nil`: no sign-in by password.
    public let passwordHash: Secret<String>?
}
