import IdentityModel
import Policy

/// Whether a request may go on, and if not, why.
enum Decision: Equatable, Sendable {
    /// Forward it.
    case allow
    /// Not signed in, or not believed: answer 401, or send a browser to the sign-in page.
    case challenge(Challenge)
    /// Signed in and not permitted: answer 403. Both sets are empty where nothing would be enough.
    case deny(missing: Set<Scope>, roles: Set<Role>)
}

/// Why a request is asked for a credential.
enum Challenge: Equatable, Sendable {
    /// None that the route accepts; a session cookie without a live session is none.
    case credentialAbsent
    /// An explicit credential that is not believed.
    case credentialInvalid(CredentialFault)
}

/// What is wrong with an explicit credential: for the log. The peer learns only `invalid_token`.
enum CredentialFault: String, Equatable, Sendable, CaseIterable {
    case malformed
    /// The field came more than once, or in a scheme that the route does not accept.
    case unsupported
    case unknownIssuer = "unknown_issuer"
    case unknownKey = "unknown_key"
    case forged
    case wrongAudience = "wrong_audience"
    case notYetValid = "not_yet_valid"
    case expired
    case revoked
    /// The name that the application would know the subject by could be that of another source's subject.
    case ambiguousName = "ambiguous_name"
    /// A certificate without a name of the configured kinds.
    case nameless
}

/// What judging the credential of a request came to. A store that failed is no state: it is answered 503 before.
enum CredentialState: Equatable, Sendable {
    /// There is none, or the route reads none.
    case absent
    /// Explicit and wrong: never the same as absent.
    case invalid(CredentialFault)
    /// Believed; the claims say whose it is.
    case valid(CredentialKind)
}

/// The decision for one request. HOT, pure, never cached.
///
/// - Parameters:
///   - rule: the index of the rule that the method falls under, `nil` where the route has no rules.
///   - claims: what the credential says; counts only where the credential is valid.
///   - isPreflight: the request is an OPTIONS with `Access-Control-Request-Method`.
func decide(
    route: CompiledRoute, rule: Int?, claims: SubjectClaims?, credential: CredentialState, isPreflight: Bool
) -> Decision {
    guard route.readsCredentials(isPreflight: isPreflight) else { return .allow }
    switch credential {
    case .invalid(let fault):
        return .challenge(.credentialInvalid(fault))
    case .absent:
        return route.access == .optional ? .allow : .challenge(.credentialAbsent)
    case .valid(let kind):
        // A kind that the route does not accept should not have been read. Then it is none.
        // The two sets alone: a copy of whole claims costs a reference count for each member.
        guard route.accepts(kind), let scopes = claims?.scopes, let roles = claims?.roles else {
            return .challenge(.credentialAbsent)
        }
        return authorize(scopes, roles, route, rule)
    }
}

/// Whether someone who is believed may go on.
private func authorize(_ scopes: Set<Scope>, _ roles: Set<Role>, _ route: CompiledRoute, _ rule: Int?) -> Decision {
    guard route.access == .rules else { return .allow }
    // A route with rules under none of which the request falls is answered 405 before this. Denied all the same.
    guard let rule, route.rules.indices.contains(rule) else { return .deny(missing: [], roles: []) }
    switch route.rules[rule].requirement.evaluate(scopes: scopes, roles: roles) {
    case .satisfied: return .allow
    case .missing(scopes: let scopes, roles: let roles): return .deny(missing: scopes, roles: roles)
    }
}
