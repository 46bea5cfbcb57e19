public import IdentityModel

/// Which roles follow from which scopes, for tokens that carry only scopes.
public struct RoleTable: Sendable {
    /// One role and the scopes that must all be held for it.
    public struct Row: Sendable, Equatable {
        /// The role that follows.
        public let role: Role
        /// Every one must be covered; at least one.
        public let scopes: [Scope]

        /// Makes a row; a row without scopes would give its role to everybody, and is a mistake of the program.
        public init(role: Role, scopes: [Scope]) {
            precondition(!scopes.isEmpty, "a role needs at least one scope to follow from")
            self.role = role
            self.scopes = scopes
        }

        fileprivate init(_ role: String, _ scopes: String...) {
            guard let role = Role(role) else { preconditionFailure("no role name: \(role)") }
            self.init(
                role: role,
                scopes: scopes.map { text in
                    guard let scope = Scope(text) else { preconditionFailure("no scope: \(text)") }
                    return scope
                })
        }
    }

    /// All rows are looked at; several roles may follow from one token.
    public let rows: [Row]

    /// Makes a table of these rows.
    public init(rows: [Row]) { self.rows = rows }

    /// The table that the gateway uses.
    public static let standard = RoleTable(rows: [
        Row("admin", "api:system:admin"),
        Row("developer", "api:ontologies:write", "api:schemas:read"),
        Row("reviewer", "api:proposals:approve", "api:proposals:read"),
        Row("viewer", "api:*:read"),
        Row("service_account", "api:service:account"),
    ])

    /// Every role whose scopes are all covered by these grants.
    public func derivedRoles(from scopes: Set<Scope>) -> Set<Role> {
        Set(rows.filter { row in row.scopes.allSatisfy { scopes.cover($0) } }.map(\.role))
    }
}

extension SubjectClaims {
    /// The claims with everything that follows from them: the scopes that the roles of the source grant and, where
    /// the source gave no role at all, the roles that follow from its scopes.
    ///
    /// Roles that follow from scopes grant nothing further: a token never gets a scope that its issuer left out.
    /// - Parameters:
    ///   - grants: the scopes of each role; empty for a source whose role names mean nothing here.
    ///   - table: the roles that follow from scopes.
    public func completed(grants: [Role: Set<Scope>], table: RoleTable = .standard) -> SubjectClaims {
        var completed = self
        for role in roles { completed.scopes.formUnion(grants[role] ?? []) }
        if roles.isEmpty { completed.roles = table.derivedRoles(from: scopes) }
        return completed
    }
}
