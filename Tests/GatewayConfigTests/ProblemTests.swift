import GatewayConfig
import Testing

@Suite struct ProblemTests {
    @Test func `a problem reads as the place, the key, what was found and the cure`() {
        let text = file(routes: "  - { host: a.example.com, path: /, upstream: bill, public: true }")
        #expect(
            load(text).problems.map(\.description) == [
                "gateway.yaml:11:47: routes[0].upstream: no upstream is called 'bill'; "
                    + "define it under 'upstreams', or use one of: app, identity"
            ])
    }

    @Test func `one run reports every problem, in the order of the file`() {
        let result = load(
            """
            workers: 0
            trusted_proxies: [10.0.0.1/8]
            listners: []
            listeners:
              - { address: ":8443", head_timeout: 10 }
              - { address: 127.0.0.1:1, underscore_headers: drp, allow_invalid_utf8: yes }
            upstreams:
              app: { endpoints: ["https://app:443"], keepalive: 1 }
            routes:
              - { path: a, upstream: app }
              - { path: /x, upstream: app, public: true, optional: true }
            """)
        #expect(result.configuration == nil)
        #expect(
            result.problems.filter { $0.severity == .error }.map { "\($0.location.line) \($0.location.path)" } == [
                "1 workers", "2 trusted_proxies[0]", "3 listners", "5 listeners[0].address",
                "5 listeners[0].head_timeout",
                "6 listeners[1].underscore_headers", "6 listeners[1].allow_invalid_utf8",
                "8 upstreams.app.endpoints[0]",
                "8 upstreams.app.keepalive", "10 routes[0]", "10 routes[0].path", "11 routes[1]",
            ])
        #expect(result.lines.contains { $0.hasPrefix("listners:") && $0.contains("did you mean 'listeners'?") })
        #expect(
            result.lines.contains {
                $0.hasPrefix("upstreams.app.keepalive:") && $0.contains("did you mean 'keep_alive'?")
            })
        #expect(result.lines.contains { $0.contains("'yes' is no boolean; write true or false") })
        #expect(result.lines.contains { $0.contains("'drp' is not known here; did you mean 'drop'?") })
    }

    @Test(arguments: [
        ("  - { path: /, upstream: app, requier: { authenticated: true } }", "routes[0].requier"),
        ("  - { path: /, upstream: app, public: yes }", "routes[0].public"),
        ("  - { pth: /, upstream: app, public: true }", "routes[0].pth"),
        ("  - { path: /, upstreem: app, public: true }", "routes[0].upstreem"),
        (
            "  - { path: /, upstream: app, rules: [{ requires: { authenticated: true } }] }",
            "routes[0].rules[0].requires"
        ),
        ("  - { path: /, upstream: app, rules: 5 }", "routes[0].rules"),
        ("  - 5", "routes[0]"),
        ("  - { path: /, upstream: app, public: true, limit: fewer }", "routes[0].limit"),
    ])
    func `a mistake in a route is one problem, not a second one for what follows from it`(route: String, place: String)
    {
        #expect(load(file(routes: route)).problems.map(\.location.path) == [place])
    }

    @Test(arguments: [
        ("upstreams:", "upstreems:"), ("upstreams:\n  app: { endpoints: [127.0.0.1:5001] }", "upstreams: []"),
        ("authentication:", "authentification:"), ("  jwt: [{", "  jtw: [{"), ("limits:", "limts:"),
        ("limits: { few: { rate: 5/minute } }", "limits: 5"), ("redis:", "redsi:"),
        ("redis: { url: redis://r }", "redis: 5"),
        ("tls: { certificates: [{ certificate: cert.pem, key: key.pem }] }", "tls: 5"),
        ("certificates: [{ certificate: cert.pem, key: key.pem }]", "certificates: 5"),
        ("certificates: [", "certificate: ["), ("keys: { jwks_file", "kees: { jwks_file"),
        ("keys: { jwks_file: keys.json }", "keys: []"), ("routes:", "rutes:"), ("listeners:", "listener:"),
        ("roles: { reader: [read] }", "roles: { reader: [r ead] }"),
    ])
    func `a part that cannot be read is one problem, whatever else would need it`(sound: String, wrong: String) {
        let text = """
            redis: { url: redis://r }
            limits: { few: { rate: 5/minute } }
            listeners:
              - address: 127.0.0.1:8443
                tls: { certificates: [{ certificate: cert.pem, key: key.pem }] }
            upstreams:
              app: { endpoints: [127.0.0.1:5001] }
            authentication:
              jwt: [{ issuer: a, audience: b, keys: { jwks_file: keys.json } }]
            roles: { reader: [read] }
            routes:
              - { path: /, upstream: app, require: { roles: [reader] }, limit: few }
            tests:
              - { when: GET http://a/, as: { roles: [reader] }, expect: allow }
            """
        #expect(load(text).problems.filter { $0.severity == .error }.map(\.description) == [])
        #expect(text.contains(sound))
        let lines = load(text.replacing(sound, with: wrong)).lines
        #expect(lines.count == 1, "\(lines.joined(separator: "\n"))")
    }

    @Test func `what could be read of a file with an error is kept apart from what may be served`() throws {
        let result = load(file(top: "workers: 0"))
        #expect(result.configuration == nil)
        let parts = try #require(result.parts)
        #expect(parts.routes.map(\.isSound) == [true] && parts.unreadHosts == [])
        #expect(
            parts.certificates.count == 1 && parts.filesRead.map(\.path) == ["gateway.yaml", "cert.pem", "key.pem"])
        let broken = load(file(routes: "  - { path: /, upstream: app, public: true, fleem: 1 }")).parts
        #expect(broken?.routes.map(\.isSound) == [false])
        #expect(
            load(file(routes: "  - { host: a.test, path: x, upstream: app, public: true }")).parts?.unreadHosts == [
                "a.test"
            ])
        #expect(
            load(file(routes: "  - { host: a_b c, path: /, upstream: app, public: true }")).parts?.unreadHosts == [nil])
    }

    @Test(arguments: [
        "", "# nothing\n", "listeners:\n", "[]", "text", "listeners: {}\nroutes: {}", "listeners: []\nroutes: []",
    ])
    func `a file without its parts is refused`(text: String) {
        #expect(load(text).configuration == nil)
        #expect(load(text).hasErrors)
    }

    @Test(arguments: [
        "workers:", "workers: ~", "workers: null", "workers: []", "workers: {}", "trusted_proxies:", "log:", "log: []",
    ])
    func `a key without a value, or with one of the wrong shape, is an error`(line: String) {
        #expect(load(file(top: line)).hasErrors)
    }

    @Test func `a key that is not built is unknown at each depth`() {
        let top = "log: { format: json }\nhttp3: true"
        let result = load(file(top: top))
        #expect(result.problems.filter { $0.severity == .error }.map(\.location.path) == ["log.format", "http3"])
    }

    @Test func `control characters of the file do not reach the terminal`() {
        let result = load(file(top: #""\e[2J\n\u202e": 1"#))
        #expect(result.problems.count == 1)
        #expect(
            result.problems.allSatisfy {
                !$0.description.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x202E }
            })
    }

    @Test func `a warning alone does not stop the file`() {
        let result = load(file(upstreams: "  app: { endpoints: [127.0.0.1:1] }\n  idle: { endpoints: [127.0.0.1:2] }"))
        #expect(result.problems.map(\.severity) == [.warning])
        #expect(result.configuration?.upstreams.count == 2)
    }

    @Test func `a missing configuration file is a problem`() {
        let result = ConfigurationLoader.load(path: "/nonexistent/gateway.yaml", environment: [:])
        #expect(
            result.problems.map(\.description) == [
                "/nonexistent/gateway.yaml: the file cannot be read: it does not exist; name another one with --config"
            ])
    }

    @Test func `a folder in place of a file is a problem`() {
        #expect(
            ConfigurationLoader.load(path: "/", environment: [:]).problems.first?.message.contains("no regular file")
                == true)
    }
}
