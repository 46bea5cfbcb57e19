import IdentityModel
import JOSE
import Testing

@testable import AuthGateway

/// What a verified token comes to say of its subject.
struct TokenAuthenticatorTests {
    private func claims(_ claims: [(String, JSONValue)], settings: String = "") throws -> SubjectClaims? {
        let issuer = try TokenFixture(settings: settings)
        return TokenCache([issuer.authenticator], entriesMax: 1).claims(of: try issuer.token(claims))
    }

    @Test(
        arguments: [
            ([], []), ([("roles", ["clerk"])], ["books:read"]), ([("roles", ["other"])], []),
            ([("roles", "clerk")], []), ([("scope", "a:read b:read")], ["a:read", "b:read"]),
            ([("scope", ["a:read", "b:read"])], ["a:read", "b:read"]), ([("scopes", ["a:read"])], ["a:read"]),
            ([("scp", "a:read")], ["a:read"]), ([("scope", "a:read"), ("scp", ["b:read"])], ["a:read", "b:read"]),
            // A claim of scopes narrows the token to them, whatever it says.
            ([("scope", "a:read"), ("roles", ["clerk"])], ["a:read"]), ([("scope", ""), ("roles", ["clerk"])], []),
            ([("scope", []), ("roles", ["clerk"])], []), ([("scope", 7), ("roles", ["clerk"])], []),
            ([("scope", true), ("roles", ["clerk"])], []), ([("scp", .null), ("roles", ["clerk"])], []),
            ([("scope", ["": "books:read"]), ("roles", ["clerk"])], []),
            ([("scope", [7, "a:read", ["b:read"]])], ["a:read"]),
            // What is no scope grants nothing.
            ([("scope", "a:read\tbooks:read"), ("roles", ["clerk"])], []), ([("scope", "\"a\" b:read")], ["b:read"]),
            ([("scope", "  a:read  ")], ["a:read"]),
        ] as [([(String, JSONValue)], [String])])
    func `a token that names scopes has those, and only one that names none has those of its roles`(
        given: [(String, JSONValue)], scopes: [String]
    ) throws {
        #expect(try claims(given)?.scopes == Set(scopes.map(Fixture.scope)))
    }

    @Test func `roles and groups come from the claims that the file names`() throws {
        let settings = """
            roles_claim: realm
                  groups_claim: teams
            """
        let found = try #require(
            try claims(
                [
                    ("realm", ["clerk", "no role!", 7]), ("roles", ["admin"]), ("teams", ["b", "a", 7]),
                    ("groups", ["wheel"]), ("name", "Ann B."), ("email", "ann@example.test"), ("tenant_id", "t-1"),
                ], settings: settings))
        #expect(found.roles == [try Fixture.role("clerk")])
        #expect(found.scopes == [try Fixture.scope("books:read")])
        #expect(found.groups == ["b", "a"])
        #expect(found.displayName == "Ann B." && found.email == "ann@example.test" && found.tenant == "t-1")
        #expect(found.subject == Subject(issuer: TokenFixture.name, identifier: "ann") && found.username == "ann")
    }

    @Test(
        arguments: [
            (nil, nil), ("", nil), (7, nil), (["ann"], nil), (.null, nil), ("ann.b", "ann.b"),
        ] as [(JSONValue?, String?)])
    func `the name is the claim that the file names, and without it the token is no good`(
        value: JSONValue?, name: String?
    ) throws {
        let found = try claims(value.map { [("login", $0)] } ?? [], settings: "username_claim: login")
        #expect(found?.username == name)
        #expect(found?.subject.identifier == (name == nil ? nil : "ann"))
    }
}
