internal import EventLoop
public import GatewayConfig
public import IdentityModel
internal import IdentityService
internal import Passwords
internal import Storage

/// What the commands do with the identity service's database, beside a running gateway or without one.
public enum IdentityCommands {
    /// A JWT from the gateway's own key.
    public static func mint(
        _ configuration: GatewayConfiguration, user: String, scopes: Set<Scope>, audience: String?,
        lifetime: Duration?
    ) throws(StartError) -> String {
        let (database, keys) = try IdentityStore.open(configuration)
        defer { database.close() }
        let minter = TokenMinter(
            database: database, keys: keys, issuer: configuration.identity.issuer, roleScopes: configuration.roles)
        let audience = audience ?? configuration.identity.tokenAudience
        let lifetime = lifetime ?? configuration.identity.tokenLifetime
        do throws(TokenMinter.Refusal) {
            let token = try waitFor { () async throws(TokenMinter.Refusal) in
                try await minter.mint(user: user, scopes: scopes, audience: audience, lifetime: lifetime)
            }
            return token.reveal()
        } catch {
            throw StartError(text(error, user: user))
        }
    }

    private static func text(_ refusal: TokenMinter.Refusal, user: String) -> String {
        switch refusal {
        case .unknownUser: "no user is called '\(user)'; `auth-gateway users add` makes one"
        case .mayNotSignIn: "the account '\(user)' is locked or switched off"
        case .scopesNotGranted(let scopes):
            "the roles of '\(user)' do not grant: \(scopes.map(\.name).sorted().joined(separator: " ")); see 'roles:'"
        case .lifetimeOutOfRange: "a token lives 1 second to a day"
        case .store(let error): "the directory cannot be read: \(error)"
        case .signing: "the token could not be signed"
        }
    }

    /// Adds an account to the directory.
    public static func addUser(
        _ configuration: GatewayConfiguration, username: String, email: String?, displayName: String,
        roles: Set<Role>, password: String
    ) throws(StartError) {
        let unknown = roles.filter { configuration.roles[$0] == nil }
        guard unknown.isEmpty else {
            let known = configuration.roles.keys.map(\.name).sorted().joined(separator: ", ")
            throw StartError("no role is called '\(unknown.map(\.name).sorted()[0])'; 'roles:' has: \(known)")
        }
        guard let name = LoginName(username) else {
            throw StartError(
                "'\(username)' cannot be a user name: 1 to 254 bytes, without blanks, control and combining characters")
        }
        var address: LoginName?
        if let email {
            guard let valid = LoginName(email) else { throw StartError("'\(email)' cannot be an e-mail address") }
            address = valid
        }
        let hash = try hash(password: password)
        guard
            let new = NewUser(
                username: name, email: address, displayName: displayName, passwordHash: Secret(hash), roles: roles,
                isSample: false)
        else { throw StartError("the account's name to show is not printable, or too long") }
        let (database, _) = try IdentityStore.open(configuration)
        defer { database.close() }
        let directory = Directory(database)
        let now = currentEpochSeconds()
        do throws(StoreError) {
            let outcome = try waitFor { () async throws(StoreError) in try await directory.create(new, now: now) }
            if case .failure(let conflict) = outcome {
                switch conflict {
                case .usernameTaken: throw StoreError("the directory has an account called '\(username)' already")
                case .emailTaken: throw StoreError("the directory has another account with that e-mail address")
                }
            }
        } catch {
            throw StartError("\(error)")
        }
    }

    /// The Argon2id string of a password.
    public static func hash(password: String) throws(StartError) -> String {
        guard let valid = Password(password) else { throw StartError("a password has 1 to 256 bytes") }
        do throws(PasswordHasherError) {
            let hasher = try PasswordHasher(limits: PasswordHasher.Limits(threads: 1))
            return try waitFor { () async throws(PasswordHasherError) in try await hasher.hash(valid) }
        } catch {
            throw StartError("the password could not be hashed: \(error)")
        }
    }
}
