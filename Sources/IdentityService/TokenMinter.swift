public import IdentityModel
internal import JOSE
public import Storage

/// Makes tokens for users of the directory.
public struct TokenMinter: Sendable {
    /// Why a token is not made.
    public enum Refusal: Error, Sendable {
        /// Nobody has this name or address.
        case unknownUser
        /// The account is locked or switched off.
        case mayNotSignIn
        /// The user's roles do not grant these scopes.
        case scopesNotGranted(Set<Scope>)
        /// The lifetime is not positive, or more than a day.
        case lifetimeOutOfRange
        /// The store did not answer.
        case store(StoreError)
        /// Signing failed.
        case signing
    }

    private let directory: Directory
    private let signer: TokenSigner
    private let issuer: String
    private let roleScopes: [Role: Set<Scope>]
    private let now: @Sendable () -> Int64

    /// `issuer` becomes `iss`; `now` is in seconds since the epoch.
    public init(
        database: Database, keys: IdentityKeys, issuer: String, roleScopes: [Role: Set<Scope>],
        now: @escaping @Sendable () -> Int64 = systemTime
    ) {
        directory = Directory(database)
        signer = TokenSigner(key: keys.signing)
        self.issuer = issuer
        self.roleScopes = roleScopes
        self.now = now
    }

    /// A JWT for the user with this name or e-mail address. It carries the user's roles and exactly the scopes asked
    /// for, each of which the roles must grant; a granted `*` stands for one segment.
    public func mint(
        user name: String, scopes: Set<Scope>, audience: String, lifetime: Duration
    ) async throws(Refusal) -> Secret<String> {
        let seconds = lifetime.components.seconds
        guard (1...86_400).contains(seconds) else { throw .lifetimeOutOfRange }
        let user = try await user(named: name)
        guard user.mayStartSession else { throw .mayNotSignIn }
        let granted = user.scopes(in: roleScopes)
        let missing = scopes.filter { wanted in !granted.contains { $0.includes(wanted) } }
        guard missing.isEmpty else { throw .scopesNotGranted(missing) }
        let claims = claims(of: user, scopes: scopes, audience: audience, seconds: seconds)
        do throws(KeyError) {
            return Secret(try signer.sign(claims))
        } catch {
            throw .signing
        }
    }

    private func user(named name: String) async throws(Refusal) -> User {
        guard let name = LoginName(name) else { throw .unknownUser }
        let record: SignInRecord?
        do throws(StoreError) {
            record = try await directory.signInRecord(named: name)
        } catch {
            throw .store(error)
        }
        guard let record else { throw .unknownUser }
        return record.user
    }

    private func claims(of user: User, scopes: Set<Scope>, audience: String, seconds: Int64) -> JSONObject {
        let time = now()
        var members: [(String, JSONValue)] = [
            ("iss", .string(issuer)), ("sub", .string(user.subject)), ("aud", .string(audience)),
            ("iat", .integer(time)), ("nbf", .integer(time)), ("exp", .integer(time + seconds)),
            ("jti", .string(Base64URL.encode(randomBytes(16)))), ("preferred_username", .string(user.username)),
        ]
        if let email = user.email { members.append(("email", .string(email))) }
        members.append(("roles", .array(user.roles.sorted().map { .string($0.name) })))
        members.append(("scope", .string(scopes.sorted().map(\.name).joined(separator: " "))))
        return JSONObject(members)
    }
}

extension Scope {
    /// Whether whoever holds this scope holds the other one too: equal, but for segments where this one has `*`.
    ///
    /// Narrower than what a route's rule asks: there a `*` in the requirement is met by any one scope; here it would
    /// put more into the token than the user has.
    fileprivate func includes(_ other: Scope) -> Bool {
        let (mine, theirs) = (segments, other.segments)
        return mine.count == theirs.count
            && zip(mine, theirs).allSatisfy { $0.elementsEqual("*".utf8) || $0.elementsEqual($1) }
    }

    private var segments: [Substring.UTF8View] {
        name.split(separator: ":", omittingEmptySubsequences: false).map(\.utf8)
    }
}
