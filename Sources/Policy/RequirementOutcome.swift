public import IdentityModel

/// What a requirement makes of a subject.
public enum RequirementOutcome: Sendable, Equatable {
    /// The subject has what is asked for.
    case satisfied
    /// The subject lacks something. Of an `anyOf` every alternative is named, of an `allOf` only what is not there; both
    /// sets are empty where nothing could satisfy the requirement.
    case missing(scopes: Set<Scope>, roles: Set<Role>)
}

/// Judges what a rule asks for by what a verified credential says, and by nothing else.
public func evaluate(_ requirement: Requirement, claims: SubjectClaims) -> RequirementOutcome {
    judge(requirement, claims.scopes, claims.roles)
}

func judge(_ requirement: Requirement, _ scopes: Set<Scope>, _ roles: Set<Role>) -> RequirementOutcome {
    switch requirement {
    case .authenticated:
        return .satisfied
    case .scope(let scope):
        return scopes.cover(scope) ? .satisfied : .missing(scopes: [scope], roles: [])
    case .role(let role):
        return roles.contains(role) ? .satisfied : .missing(scopes: [], roles: [role])
    case .allOf(let members):
        return members.reduce(.satisfied) { $0.and(judge($1, scopes, roles)) }
    case .anyOf(let members):
        return members.reduce(.missing(scopes: [], roles: [])) { $0.or(judge($1, scopes, roles)) }
    }
}

extension RequirementOutcome {
    fileprivate func and(_ other: RequirementOutcome) -> RequirementOutcome {
        switch (self, other) {
        case (.satisfied, _): other
        case (_, .satisfied): self
        case (.missing(let scopes, let roles), .missing(let otherScopes, let otherRoles)):
            .missing(scopes: scopes.union(otherScopes), roles: roles.union(otherRoles))
        }
    }

    fileprivate func or(_ other: RequirementOutcome) -> RequirementOutcome {
        switch (self, other) {
        case (.satisfied, _), (_, .satisfied): .satisfied
        case (.missing(let scopes, let roles), .missing(let otherScopes, let otherRoles)):
            .missing(scopes: scopes.union(otherScopes), roles: roles.union(otherRoles))
        }
    }
}
