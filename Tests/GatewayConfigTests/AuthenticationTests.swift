import GatewayConfig
import Testing

@Suite struct AuthenticationTests {
    private func issuer(_ entry: String, files: MemoryFiles = .usual) -> ConfigurationResult {
        load(file(authentication: "  jwt: [\(entry)]"), files: files)
    }

    @Test func `own tokens need nothing but keys: identity`() throws {
        let result = issuer("{ keys: identity }")
        #expect(result.problems.map(\.description) == [])
        let own = try #require(result.configuration?.authentication.jwt.first)
        #expect(own.issuer == "auth-gateway" && own.audiences == ["auth-gateway"])
        #expect(own.algorithms == [.ES256] && own.usernameClaim == "preferred_username")
        #expect(result.configuration?.usesIdentityService == true)
    }

    @Test(arguments: [
        "{ keys: identity, issuer: https://other }", "{ keys: identity, algorithms: [RS256] }", "{ keys: own }",
        "{ issuer: a, audience: b }", "{ issuer: a, audience: b, keys: {} }",
        "{ issuer: a, keys: { jwks_file: keys.json } }", "{ audience: b, keys: { jwks_file: keys.json } }",
        "{ issuer: a, audience: [], keys: { jwks_file: keys.json } }",
        "{ issuer: a, audience: b, keys: { jwks_file: none.json } }",
        "{ issuer: a, audience: b, keys: { jwks_file: keys.json, jwks_url: https://a/k } }",
        "{ issuer: a, audience: b, keys: { jwks_file: keys.json, secret_file: secret } }",
        "{ issuer: a, audience: b, keys: { jwks_file: keys.json }, algorithms: [HS256] }",
        "{ issuer: a, audience: b, keys: { jwks_file: keys.json }, algorithms: [ES256, HS256] }",
        "{ issuer: a, audience: b, keys: { jwks_file: keys.json }, algorithms: [none] }",
        "{ issuer: a, audience: b, keys: { jwks_file: keys.json }, algorithms: [] }",
        "{ issuer: a, audience: b, keys: { secret_file: secret }, algorithms: [ES256] }",
        "{ issuer: a, audience: b, keys: { secret_file: secret }, algorithms: [HS256, RS256] }",
        "{ issuer: a, audience: b, keys: { secret: short } }",
        "{ issuer: a, audience: b, keys: { secret_file: none } }",
        "{ issuer: a, audience: b, keys: { url: https://a/k } }", "{ issuer: a, audience: b, keys: [identity] }",
        "{ issuer: auth-gateway, audience: b, keys: { jwks_file: keys.json } }",
        "{ issuer: a, audience: b, keys: { jwks_file: keys.json }, clock_skew: 6m }",
    ])
    func `an issuer that could be misread is refused`(entry: String) {
        let result = issuer(entry)
        #expect(result.configuration == nil)
        #expect(result.problems.contains { $0.location.path.hasPrefix("authentication.jwt[0]") })
    }

    @Test(arguments: [
        "{ issuer: a, audience: b, keys: { jwks_file: keys.json }, algorithms: [ES256, RS256, EdDSA] }",
        "{ issuer: a, audience: [b, c], keys: { jwks_url: 'https://a/k' }, clock_skew: 5m }",
        "{ issuer: a, audience: b, keys: { jwks_url: 'http://127.0.0.1:1/k' } }",
        "{ issuer: a, audience: b, keys: { secret_file: secret }, algorithms: [HS256] }",
        "{ issuer: a, audience: b, keys: { secret: Zx8kQ2vLr0TnWb5yHs1uJd7mCe4gPf9a } }",
    ])
    func `an issuer whose keys and algorithms fit loads`(entry: String) {
        #expect(issuer(entry).problems.map(\.description) == [])
    }

    @Test func `a shared secret is shown by no message`() {
        for secret in ["hunter2hunter2", "hunter2\u{7}Zx8kQ2vLr0TnWb5yHs1uJd7mCe4gPf9a$x", "[hunter2]"] {
            let result = issuer("{ issuer: a, audience: b, keys: { secret: \"\(secret)\" } }")
            #expect(!result.problems.contains { $0.description.contains("hunter2") })
        }
        let files = MemoryFiles.usual.with("secret", "hunter2\n")
        let result = issuer("{ issuer: a, audience: b, keys: { secret_file: secret } }", files: files)
        #expect(result.configuration == nil && !result.problems.contains { $0.description.contains("hunter2") })
    }

    @Test func `keys over plain HTTP are worth a warning`() {
        let problems = issuer("{ issuer: a, audience: b, keys: { jwks_url: 'http://user-service:8000/k' } }").problems
        #expect(problems.map(\.severity) == [.warning])
    }

    @Test func `an issuer stands once`() {
        let entry = "{ issuer: a, audience: b, keys: { jwks_file: keys.json } }"
        #expect(
            load(file(authentication: "  jwt: [\(entry), \(entry)]")).lines.contains { $0.contains("a second time") })
    }

    private static let foreign = "{ issuer: a, audience: b, keys: { jwks_file: keys.json } }"
    private static let prefixed = "{ issuer: c, audience: b, keys: { jwks_file: keys.json }, prefix: 'c:' }"
    private static let alike = "{ issuer: d, audience: b, keys: { jwks_file: keys.json }, prefix: 'c:d' }"
    private static let own = "{ keys: identity }"
    private static let ownBySubject = "{ keys: identity, username_claim: email }"

    /// Issuers, the route's credentials, and whether users of two sources could be taken for each other.
    @Test(arguments: [
        ([foreign], "[jwt]", true), ([foreign], "[session]", true), ([foreign], "[session, jwt]", false),
        ([prefixed], "[session, jwt]", true), ([foreign, prefixed], "[jwt]", true),
        ([foreign, prefixed], "[session, jwt]", false), ([own], "[session, jwt]", true),
        ([own, foreign], "[jwt]", false), ([own, prefixed], "[session, jwt]", true),
        ([ownBySubject], "[session, jwt]", false), ([ownBySubject], "[jwt]", true),
        ([prefixed, alike], "[jwt]", false),
    ])
    func `a route that takes users from two sources needs a prefix on all but one`(
        issuers: [String], credentials: String, loads: Bool
    ) {
        let route = "  - { path: /, upstream: app, require: { authenticated: true }, credentials: \(credentials) }"
        let result = load(file(authentication: "  jwt: [\(issuers.joined(separator: ", "))]", routes: route))
        #expect((result.configuration != nil) == loads, "\(result.lines)")
    }

    @Test func `two issuers without prefix are refused even where the route only is optional`() {
        let two = "  jwt: [\(Self.foreign), { issuer: x, audience: b, keys: { jwks_file: keys.json } }]"
        let route = "  - { path: /, upstream: app, optional: true }"
        #expect(load(file(authentication: two, routes: route)).configuration == nil)
        #expect(load(file(authentication: two)).configuration != nil)
    }

    @Test func `a __Host- cookie has no domain and needs TLS on every listener`() {
        #expect(
            load(file(authentication: "  session: { cookie_name: __Host-s, domain: example.com }")).configuration == nil
        )
        for name in ["__Host-s", "__Secure-s", "__host-s"] {
            let text = file(
                listener: "  - { address: 127.0.0.1:1 }", authentication: "  session: { cookie_name: \(name) }")
            #expect(load(text).configuration == nil)
        }
    }

    @Test func `a host that the cookie does not reach is worth a warning`() {
        func severities(_ host: String, domain: String) -> [ConfigurationProblem.Severity] {
            let route = "  - { host: \(host), path: /, upstream: app, require: { authenticated: true } }"
            return load(file(authentication: "  session: { domain: \(domain) }", routes: route)).problems.map(
                \.severity)
        }
        #expect(severities("app.example.com", domain: "example.com") == [])
        #expect(severities("example.com", domain: "example.com") == [])
        #expect(severities("'*.example.com'", domain: "example.com") == [])
        #expect(severities("badexample.com", domain: "example.com") == [.warning])
        #expect(severities("app.example.org", domain: "example.com") == [.warning])
    }

    @Test func `a sign-in page on a host that shares no cookie is worth a warning`() {
        func severities(_ session: String) -> [ConfigurationProblem.Severity] {
            let route = "  - { host: app.example.com, path: /, upstream: app, require: { authenticated: true } }"
            return load(file(authentication: "  session: \(session)", routes: route)).problems.map(\.severity)
        }
        #expect(severities("{ login_url: 'https://iam.example.com/auth/login', domain: example.com }") == [])
        #expect(severities("{ login_url: 'https://app.example.com/auth/login' }") == [])
        #expect(severities("{ login_url: 'https://iam.example.com/auth/login' }") == [.warning])
        #expect(severities("{ login_url: 'http://app.example.com/auth/login' }") == [.warning])
        #expect(severities("{ login_url: 'https://iam.example.org/auth/login', domain: example.com }") == [.warning])
    }

    @Test(arguments: ["localhost", "127.0.0.1", "a..b", "exa mple.com", "'*.example.com'"])
    func `refuses a domain that browsers refuse`(domain: String) {
        #expect(load(file(authentication: "  session: { domain: \(domain) }")).configuration == nil)
    }
}
