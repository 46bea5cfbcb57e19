import IdentityModel
import Testing

@testable import Policy

@Suite struct RoleTableTests {
    @Test(arguments: [
        (["api:system:admin"], ["admin"]),
        (["api:system:write"], []),
        (["api:system"], []),
        (["api:ontologies:write", "api:schemas:read"], ["developer", "viewer"]),
        (["api:ontologies:write"], []),
        (["api:schemas:read"], ["viewer"]),
        (["api:proposals:approve", "api:proposals:read"], ["reviewer", "viewer"]),
        (["api:proposals:approve"], []),
        (["api:proposals:read"], ["viewer"]),
        (["api:anything:read"], ["viewer"]),
        (["api:*:read"], ["viewer"]),
        (["api:*:read", "api:ontologies:write"], ["developer", "viewer"]),
        (["api:anything:write"], []),
        (["api:read"], []),
        (["api:a:b:read"], []),
        (["reports:x:read"], []),
        (["api:service:account"], ["service_account"]),
        (["api:service:accounts"], []),
        (["api:schemas:write"], []),
        (
            [
                "api:system:admin", "api:ontologies:write", "api:schemas:read", "api:proposals:approve",
                "api:proposals:read", "api:service:account",
            ], ["admin", "developer", "reviewer", "viewer", "service_account"]
        ),
        (["api:*:*"], ["admin", "developer", "reviewer", "viewer", "service_account"]),
        ([], []),
    ])
    func `each row gives its role for exactly its scopes`(scopes: [String], roles: [String]) throws {
        let derived = RoleTable.standard.derivedRoles(from: try claims(scopes: scopes).scopes)
        #expect(derived == Set(try roles.map(role)))
    }

    @Test func `a source that gives roles gets none from its scopes`() throws {
        let given = try claims(scopes: ["api:system:admin"], roles: ["pm"])
        #expect(given.completed(grants: [:]).roles == [try role("pm")])
        #expect(try claims(scopes: ["api:system:admin"]).completed(grants: [:]).roles == [try role("admin")])
    }

    @Test func `roles of the source grant scopes and roles from scopes grant none`() throws {
        let grants: [Role: Set<Scope>] = [
            try role("pm"): [try scope("reports:read")], try role("admin"): [try scope("reports:write")],
        ]
        #expect(try claims(roles: ["pm"]).completed(grants: grants).scopes == [try scope("reports:read")])
        let token = try claims(scopes: ["api:system:admin"]).completed(grants: grants)
        #expect(token.roles == [try role("admin")])
        #expect(token.scopes == [try scope("api:system:admin")])
    }

    @Test func `scopes that a role grants do not give it further roles`() throws {
        let grants: [Role: Set<Scope>] = [try role("pm"): [try scope("api:system:admin")]]
        #expect(try claims(roles: ["pm"]).completed(grants: grants).roles == [try role("pm")])
    }

    @Test func `a row without scopes is a mistake of the program`() async {
        await #expect(processExitsWith: .failure) {
            guard let role = Role("everybody") else { return }
            _ = RoleTable.Row(role: role, scopes: [])
        }
    }
}
