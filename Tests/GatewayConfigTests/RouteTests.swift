import GatewayConfig
import IdentityModel
import Testing

@Suite struct RouteTests {
    private func route(_ members: String, limits: String = "") -> ConfigurationResult {
        load(file(top: limits, routes: "  - { path: /, upstream: app\(members.isEmpty ? "" : ", ")\(members) }"))
    }

    private func access(_ members: String) -> GatewayConfiguration.Route.Access? {
        route(members).configuration?.routes[0].access
    }

    private func requirement(_ text: String) throws -> Requirement? {
        guard case .rules(let rules)? = access("require: \(text)") else { return nil }
        return try #require(rules.first).require
    }

    @Test func `a route says in one way who may use it`() {
        #expect(access("public: true") == .open)
        #expect(access("optional: true") == .optional)
        #expect(access("require: { authenticated: true }") != nil)
        #expect(access("rules: [{ require: { authenticated: true } }]") != nil)
        #expect(access("public: false, optional: true") == .optional)
    }

    @Test(arguments: [
        "", "public: false", "optional: false", "public: true, optional: true",
        "public: true, require: { scopes: [a] }",
        "public: true, rules: [{ require: { scopes: [a] } }]", "optional: true, require: { scopes: [a] }",
        "require: { scopes: [a] }, rules: [{ require: { scopes: [a] } }]", "rules: []", "rules: {}", "require: {}",
        "require: []", "require: true", "require: authenticated", "rules: [{}]", "rules: [{ methods: [GET] }]",
        "rules: [{ require: {} }]", "rules: [{ require: { scopes: [a] } }, {}]", "public: yes", "public: 'on'",
        "public: 1",
        "public: [true, false]", "public:", "require:",
    ])
    func `a route that says nothing, or two things, does not load`(members: String) {
        #expect(route(members).configuration == nil)
        #expect(route(members).problems.contains { $0.location.path.hasPrefix("routes[0]") && $0.severity == .error })
    }

    @Test func `scopes are all needed, roles any one, keys together all hold`() throws {
        let (a, b) = (try #require(Scope("a")), try #require(Scope("b")))
        let (r, s) = (try #require(Role("r")), try #require(Role("s")))
        #expect(try requirement("{ authenticated: true }") == .authenticated)
        #expect(try requirement("{ scopes: a }") == .scope(a))
        #expect(try requirement("{ scopes: [a, b] }") == .allOf([.scope(a), .scope(b)]))
        #expect(try requirement("{ roles: [r] }") == .role(r))
        #expect(try requirement("{ roles: [r, s] }") == .anyOf([.role(r), .role(s)]))
        #expect(
            try requirement("{ scopes: [a], roles: [r, s] }") == .allOf([.scope(a), .anyOf([.role(r), .role(s)])]))
        #expect(try requirement("{ authenticated: true, scopes: [a] }") == .scope(a))
        #expect(
            try requirement("{ any_of: [{ roles: [r] }, { all_of: [{ scopes: [a] }, { scopes: [b] }] }] }")
                == .anyOf([.role(r), .allOf([.scope(a), .scope(b)])]))
    }

    @Test(arguments: [
        "{ scopes: [] }", "{ roles: [] }", "{ all_of: [] }", "{ any_of: [] }", "{ any_of: [{}] }",
        "{ all_of: [{ scopes: [] }] }",
        "{ authenticated: false }", "{ authenticated: yes }", "{ scope: [a] }", "{ scopes: ['a b'] }",
        "{ scopes: ['a*'] }",
        "{ scopes: [a], roles: [] }", "{ any_of: { scopes: [a] } }", "{ not: { scopes: [a] } }", "{ roles: ['a b'] }",
        "{ scopes: }", "{ scopes: [a, ~] }", "{ scopes: [[a]] }",
    ])
    func `an empty or unknown requirement never loads`(text: String) {
        #expect(route("require: \(text)").configuration == nil)
    }

    @Test func `an unknown key in a requirement names the known one`() {
        #expect(
            route("require: { scope: [a] }").lines.contains {
                $0.hasPrefix("routes[0].require.scope:") && $0.contains("did you mean 'scopes'?")
            })
    }

    @Test func `credentials default to everything that is configured`() {
        func credentials(
            _ authentication: String, _ members: String = "require: { authenticated: true }", top: String = ""
        ) -> [CredentialKind]? {
            load(file(top: top, authentication: authentication, routes: "  - { path: /, upstream: app, \(members) }"))
                .configuration?.routes[0].credentials
        }
        let token = "  jwt: [{ issuer: a, audience: b, keys: { jwks_file: keys.json } }]"
        #expect(credentials("  session: {}") == [.session])
        #expect(credentials(token) == [.jwt])
        #expect(credentials("  jwt: [{ keys: identity }]", top: "identity: {}") == [.session, .jwt])
        #expect(credentials("  {}") == nil)
        #expect(credentials("  {}", top: "identity: {}") == [.session])
        #expect(credentials("  {}", "public: true") == [])
        #expect(credentials(token, "optional: true, credentials: [session]") == [.session])
        #expect(credentials("  session: {}", "require: { authenticated: true }, credentials: [jwt]") == nil)
        #expect(credentials("  session: {}", "public: true, credentials: [session]") == nil)
        #expect(credentials("  session: {}", "require: { authenticated: true }, credentials: []") == nil)
        #expect(credentials("  session: {}", "require: { authenticated: true }, credentials: [none]") == nil)
    }

    @Test func `a route to the identity service makes sessions a credential`() {
        let routes =
            "  - { path: /auth/**, upstream: identity, public: true }\n  - { path: /, upstream: app, optional: true }"
        let configuration = load(file(authentication: "  {}", routes: routes)).configuration
        #expect(configuration?.routes.map(\.credentials) == [[], [.session]])
        #expect(configuration?.routes[0].target == .identity)
        #expect(configuration?.usesIdentityService == true)
    }

    @Test func `a gateway for tokens of others needs no identity service`() {
        let token = "  jwt: [{ issuer: a, audience: b, keys: { jwks_file: keys.json } }]"
        let routes = "  - { path: /, upstream: app, require: { authenticated: true } }"
        #expect(load(file(authentication: token, routes: routes)).configuration?.usesIdentityService == false)
    }

    @Test func `limits that a route names are defined and make sense there`() {
        let limits = "limits: { each: { rate: 5/minute, key: subject }, all: { rate: 5/minute, key: route } }"
        func problems(_ members: String) -> [String] {
            route(members, limits: limits).problems.filter { $0.location.path.hasPrefix("routes") }.map {
                "\($0.severity.rawValue) \($0.location.path)"
            }
        }
        #expect(problems("require: { authenticated: true }, limit: each") == [])
        #expect(problems("public: true, limit: [all]") == [])
        #expect(problems("public: true, limit: each") == ["error routes[0].limit"])
        #expect(problems("optional: true, limit: each") == ["warning routes[0].limit"])
        #expect(problems("public: true, limit: al") == ["error routes[0].limit"])
        #expect(problems("public: true, limit: [all, all]") == ["error routes[0].limit"])
        #expect(problems("rules: [{ require: { scopes: a }, limit: non }]") == ["error routes[0].rules[0].limit"])
    }

    @Test(arguments: ["get", "Get", "G T", "CONNECT", "''", "'*'"])
    func `a method that no request has is refused`(method: String) {
        #expect(route("rules: [{ methods: [\(method)], require: { scopes: [a] } }]").configuration == nil)
    }

    @Test(arguments: [
        ("[{ require: { scopes: a } }, { methods: [GET], require: { scopes: b } }]", ["routes[0].rules[1]"]),
        ("[{ require: { scopes: a } }, { require: { scopes: b } }]", ["routes[0].rules[1]"]),
        (
            "[{ methods: [GET], require: { scopes: a } }, { methods: [HEAD], require: { scopes: b } }]",
            ["routes[0].rules[1]"]
        ),
        ("[{ methods: [GET], require: { scopes: a } }, { methods: [GET, POST], require: { scopes: b } }]", []),
        ("[{ methods: [GET], require: { scopes: a } }, { require: { scopes: b } }]", []),
    ])
    func `a rule that is never reached is worth a warning`(rules: String, paths: [String]) {
        let result = route("rules: \(rules)")
        #expect(result.problems.map(\.location.path) == paths)
        #expect(result.problems.allSatisfy { $0.severity == .warning })
    }

    @Test(arguments: [0x1B, 0x7F, 0x85, 0x202E, 0x200B, 0x2028, 0xFEFF] as [UInt32])
    func `a name that could disguise itself in a log is refused`(character: UInt32) throws {
        let hex = String(character, radix: 16)
        let escaped = "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
        #expect(
            route("public: true, name: \"a\(escaped)b\"").lines.contains { $0.contains("holds a control character") })
    }

    @Test func `two routes of one name are refused`() {
        let routes =
            "  - { path: /a, name: x, upstream: app, public: true }\n  - { path: /b, name: x, upstream: app, public: true }"
        #expect(load(file(routes: routes)).lines.contains { $0.contains("has the same name, 'x'") })
    }

    @Test func `a role that nothing gives is worth a warning, unless tokens of others may give it`() {
        let routes = "  - { path: /, upstream: app, require: { any_of: [{ roles: [admn] }, { roles: [viewer] }] } }"
        let result = load(file(top: "roles: { admin: [a] }", routes: routes))
        #expect(result.problems.map(\.severity) == [.warning])
        #expect(result.problems.first?.cure.contains("did you mean 'admin'?") == true)
        let token = "  jwt: [{ issuer: a, audience: b, keys: { jwks_file: keys.json } }]"
        let foreign = routes.replacing("upstream: app", with: "upstream: app, credentials: [jwt]")
        #expect(load(file(top: "roles: { admin: [a] }", authentication: token, routes: foreign)).problems.isEmpty)
    }

    @Test func `the other keys of a route are read`() throws {
        let result = route(
            "require: { authenticated: true }, headers: remote-user, forward_credential: true, preflight: pass, "
                + "allow_encoded: ['%2F', '%5c'], body_bytes_max: 10MiB, name: home")
        let route = try #require(result.configuration?.routes[0])
        #expect(route.headers == .remoteUser && route.forwardCredential && route.preflightPass)
        #expect(route.allowEncoded == [0x2F, 0x5C] && route.bodyBytesMax == 10 << 20 && route.name == "home")
    }

    @Test func `bodies are buffered where a route says so, within bounds that fit together`() throws {
        let usual = try #require(load(file()).configuration)
        #expect(!usual.routes[0].bufferRequest && !usual.routes[0].bufferResponse)
        #expect(usual.buffering.requestMemoryBytesMax == 65_536 && usual.buffering.responseMemoryBytesMax == 262_144)
        #expect(usual.buffering.fileBytesMax == 1 << 30 && usual.buffering.allFilesBytesMax == 8 << 30)
        #expect(usual.buffering.folder == nil)
        let one = try #require(route("public: true, buffer_request: true").configuration?.routes[0])
        #expect(one.bufferRequest && !one.bufferResponse)
        func problems(_ members: String) -> [String] { load(file(top: "buffering: { \(members) }")).lines }
        #expect(problems("file_bytes_max: 0, folder: /var/tmp") == [])
        #expect(problems("file_bytes_max: 1MiB, all_files_bytes_max: 1MiB") == [])
        #expect(
            problems("file_bytes_max: 1048577, all_files_bytes_max: 1MiB") == [
                "buffering.file_bytes_max: one file may be larger than all together; "
                    + "lower it, or raise 'all_files_bytes_max'"
            ])
        #expect(problems("all_files_bytes_max: 1MiB").count == 1, "the default of one file is larger")
        #expect(problems("request_memory_bytes_max: 4095").count == 1)
        #expect(problems("response_memory_bytes_max: 16MiB") == [])
        #expect(problems("response_memory_bytes_max: 17MiB").count == 1)
    }

    @Test func `a test's subject holds the scopes of its roles`() throws {
        func test(_ members: String) -> GatewayConfiguration.RouteTest? {
            let top = "roles: { reader: [a, b] }\ntests: [{ when: GET https://a.example/, \(members) }]"
            return load(file(top: top)).configuration?.tests.first
        }
        let scopes = ["a", "b", "c"].compactMap { Scope($0) }
        #expect(test("expect: allow").map { $0.scopes == nil } == true)
        #expect(test("as: nobody, expect: 404").map { $0.scopes == nil && $0.expect == .status(404) } == true)
        #expect(test("as: {}, expect: deny")?.scopes == [])
        #expect(test("as: { roles: [reader], scopes: [c] }, expect: deny")?.scopes == Set(scopes))
        #expect(test("as: everybody, expect: deny") == nil)
        #expect(test("as: { role: [reader] }, expect: deny") == nil)
        #expect(test("expect: maybe") == nil)
        #expect(test("expect: 600") == nil)
        #expect(test("as: nobody") == nil)
    }
}
