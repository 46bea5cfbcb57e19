import GatewayConfig
import Testing

@testable import AuthGateway

/// From the text of a file to routes that can serve: what is refused, what is worth a warning, what passes.
struct SnapshotCompileTests {
    private func compile(_ routes: [String], tests: [String] = []) throws -> (isTaken: Bool, problems: [String]) {
        let text = """
            listeners: [{ address: 127.0.0.1:8080 }]
            upstreams: { app: { endpoints: [127.0.0.1:5001] } }
            authentication: { session: { domain: example.test } }
            roles: { clerk: [books:read] }
            routes:
            \(routes.map { "  - { \($0) }" }.joined(separator: "\n"))
            \(tests.isEmpty ? "" : "tests:\n" + tests.map { "  - { \($0) }" }.joined(separator: "\n"))
            """
        let loaded = ConfigurationLoader.load(text: text, file: "the.yaml")
        let configuration = try #require(loaded.configuration, "\(loaded.problems)")
        let (compiled, problems) = SnapshotBuilder.compile(configuration, file: "the.yaml")
        #expect((compiled == nil) == problems.contains { $0.severity == .error })
        #expect(problems.allSatisfy { $0.file == "the.yaml" && $0.location.line > 0 && !$0.cure.isEmpty })
        return (compiled != nil, problems.map { "\($0.severity) \($0.location.path): \($0.message)" })
    }

    private static let open = "host: a.test, path: /, upstream: app, public: true"

    private static func route(_ path: String, _ rest: String = "require: { authenticated: true }") -> String {
        "host: a.test, path: \"\(path)\", upstream: app, \(rest)"
    }

    @Test(arguments: [
        ("/%61", "normal"), ("/a%2Fb", "a%2Fb"), ("/", "ties with routes[0]"),
    ])
    func `a route that could not match as it stands is refused, with its place`(path: String, problem: String) throws {
        let (isTaken, problems) = try compile([Self.open, Self.route(path, "name: other, public: true")])
        #expect(!isTaken && problems.count == 1)
        #expect(problems[0].hasPrefix("error routes[1]: ") && problems[0].contains(problem), "\(problems)")
    }

    @Test func `all problems of routes are told together, and tests are not run on routes that do not hold`() throws {
        let (isTaken, problems) = try compile(
            [Self.open, Self.route("/%61"), Self.route("/b%00")],
            tests: ["when: GET https://a.test/, expect: deny"])
        #expect(!isTaken)
        #expect(problems.map { $0.prefix { $0 != ":" } } == ["error routes[1]", "error routes[2]"])
    }

    @Test func `routes that overlap without end are refused`() throws {
        let routes = (0..<256).map { number in
            let segments = (0..<8).map { number >> $0 & 1 == 0 ? "/a" : "/*" }.joined()
            return Self.route(segments, "public: true")
        }
        let (isTaken, problems) = try compile(routes)
        #expect(!isTaken && problems.count == 1 && problems[0].contains("steps"))
        #expect(try compile(Array(routes.prefix(32))).isTaken)
    }

    @Test func `doubtful routes load with a warning, and with a test that speaks of them`() throws {
        let (isTaken, problems) = try compile(
            [Self.route("/**"), Self.route("/static/**", "public: true")],
            tests: [
                "when: GET https://a.test/static/x.css, expect: allow", "when: GET https://a.test/x, expect: challenge",
            ])
        #expect(isTaken)
        #expect(problems.count == 1 && problems[0].hasPrefix("warning routes[1]: '/static/**'"))
        let shadowed = try compile([Self.route("/*/secret"), Self.route("/a/**", "public: true")])
        #expect(shadowed.isTaken && shadowed.problems.count == 1)
        #expect(shadowed.problems[0].hasPrefix("warning routes[0]"))
    }

    @Test func `a test that ends otherwise refuses the file beside the warnings`() throws {
        let (isTaken, problems) = try compile(
            [Self.route("/**"), Self.route("/static/**", "public: true")],
            tests: [
                "when: GET https://a.test/static/x.css, expect: allow",
                "when: GET https://a.test/static/x, expect: deny",
                "when: GET https://a.test/x, expect: allow",
            ])
        #expect(!isTaken)
        #expect(problems.map { $0.prefix { $0 != ":" } } == ["warning routes[1]", "error tests[1]", "error tests[2]"])
    }

    @Test(arguments: [
        // As requests get it: dots and escapes are gone before the match.
        ("GET https://a.test/public/../books", "challenge"), ("GET https://a.test/public/%2e%2e/books", "400"),
        ("GET https://a.test/public/./x", "allow"), ("GET https://a.test/%70ublic/x", "allow"),
        ("GET https://a.test/../../books", "400"), ("GET https://a.test//books", "400"),
        ("GET https://a.test/public//x", "allow"),
        ("GET https://a.test/public/mine//x", "400"),
        ("GET https://a.test/public/..;/books", "400"),
        // Bytes that an application could read as another path.
        ("GET https://a.test/public/a%2Fb", "400"), ("GET https://a.test/public/a%5Cb", "400"),
        ("GET https://a.test/public/a%00", "400"), ("GET https://a.test/public/%", "400"),
        ("GET https://a.test/public/%ff", "400"), ("GET https://a.test/files/a%2Fb", "allow"),
        ("GET https://a.test/files/a%5Cb", "400"),
        // Hosts and methods.
        ("GET https://a.test:8443/public/x?y=/books", "allow"), ("GET https://b.test/public/x", "404"),
        ("GET https://a.test", "404"), ("DELETE https://a.test/books", "405"),
        ("POST https://a.test/books", "challenge"),
    ])
    func `the file's tests ask about paths as requests have them`(when: String, expect: String) throws {
        let routes = [
            Self.route("/public/**", "public: true"),
            Self.route("/public/mine/x"),
            Self.route("/files/**", "public: true, allow_encoded: [\"%2F\"]"),
            Self.route(
                "/books",
                "rules: [{ methods: [GET], require: { scopes: [books:read] } }, "
                    + "{ methods: [POST], require: { roles: [clerk] } }]"),
        ]
        let (isTaken, problems) = try compile(routes, tests: ["when: \"\(when)\", expect: \(expect)"])
        #expect(isTaken, "\(problems)")
        let others = ["allow", "challenge", "deny", "400", "404", "405"].filter { $0 != expect }
        for other in others {
            #expect(try !compile(routes, tests: ["when: \"\(when)\", expect: \(other)"]).isTaken)
        }
    }

    @Test func `the file's tests know who asks`() throws {
        let routes = [Self.route("/books", "require: { scopes: [books:read] }")]
        func outcome(_ who: String, _ expect: String) throws -> Bool {
            try compile(routes, tests: ["when: GET https://a.test/books, as: \(who), expect: \(expect)"]).isTaken
        }
        #expect(try outcome("nobody", "challenge") && outcome("nobody", "401"))
        #expect(try outcome("{ scopes: [books:read] }", "allow") && outcome("{ roles: [clerk] }", "allow"))
        #expect(try outcome("{ scopes: [books:write] }", "deny") && outcome("{ roles: [user] }", "403"))
        #expect(try !outcome("nobody", "allow") && !outcome("{ roles: [user] }", "allow"))
    }
}
