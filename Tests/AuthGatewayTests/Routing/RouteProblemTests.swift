import GatewayConfig
import IdentityModel
import Testing

@testable import AuthGateway

@Suite struct RouteProblemTests {
    @Test(arguments: [
        ("x", PathPatternError.notAbsolute), ("", .notAbsolute), ("*", .notAbsolute),
        ("/a?b=1", .hasQuery), ("/a%", .badEscape), ("/a%4", .badEscape), ("/a%zz", .badEscape),
        ("/%61dmin", .notNormal(spelling: "/admin")), ("/a%3b", .notNormal(spelling: "/a%3B")),
        ("/a b", .notNormal(spelling: "/a%20b")), ("/caf\u{E9}", .notNormal(spelling: "/caf%C3%A9")),
        ("/users/{id}", .notNormal(spelling: "/users/%7Bid%7D")), ("/a#b", .notNormal(spelling: "/a%23b")),
        ("/a\\b", .notNormal(spelling: "/a%5Cb")), ("/%2e%2e/a", .notNormal(spelling: "/../a")),
        ("//a", .emptySegment), ("/a//b", .emptySegment), ("/a//", .emptySegment),
        ("/a/../b", .dotSegment("..")), ("/./a", .dotSegment(".")), ("/a/..;x/b", .dotSegment("..;x")),
        ("/a*", .wildcardInSegment("a*")), ("/***", .wildcardInSegment("***")),
        ("/a/*.css", .wildcardInSegment("*.css")),
        ("/**/a", .restNotLast), ("/a/**/", .restNotLast),
        ("/a%2Fb", .encodedNotAllowed("a%2Fb")), ("/a%00", .encodedNotAllowed("a%00")),
        ("/a%5C", .encodedNotAllowed("a%5C")), ("/a%7F", .encodedNotAllowed("a%7F")),
        ("/a%1F", .encodedNotAllowed("a%1F")),
        (String(repeating: "/a", count: 65), .tooManySegments(65)),
    ])
    func `a path that could never match is refused with its cure`(path: String, error: PathPatternError) {
        #expect(throws: error) { try PathPattern(path) }
        let loaded = RouteTable.load([Fixture.route(3, path)], seed: 1)
        #expect(loaded.table == nil)
        #expect(loaded.problems.map(\.location.path) == ["routes[3]"])
        #expect(loaded.problems.map(\.cure) == [error.cure])
    }

    @Test func `paths in normal form load`() throws {
        for path in [
            "/", "/**", "/*", "/a/*/b/", "/a%20b", "/.well-known/jwks.json", "/...", "/a;x=1", "/a.;b",
            "/~u/!$&'()+,=:@",
            String(repeating: "/a", count: 64), "/a%25", "/a%3B",
        ] {
            _ = try PathPattern(path)
        }
        #expect(
            try PathPattern("/a%2Fb", allowEncoded: [UInt8(ascii: "/")])
                == PathPattern("/a%2Fb", allowEncoded: [UInt8(ascii: "/"), 0]))
    }

    @Test(arguments: [
        "A.test", "a.test.", ".a.test", "*", "*.", "a.*.test", "*a.test", "a/b", "", "a test", "u@a.test", "*.*.test",
    ])
    func `a host that could never match is refused`(host: String) {
        let loaded = RouteTable.load([Fixture.route(host: host, "/")], seed: 1)
        #expect(loaded.table == nil)
        #expect(loaded.problems.count == 1)
    }

    @Test(arguments: [
        ("/a/*", "/a/*", true), ("/x/**", "/x/**", true), ("/a@b", "/a%40b", true), ("/", "/", true),
        ("/x", "/x/", false), ("/x", "/x/**", false), ("/*", "/%2A", false),
    ])
    func `two routes that tie are an error that names both`(first: String, second: String, tie: Bool) throws {
        let routes = [Fixture.route(0, host: "a.test", first), Fixture.route(1, host: "a.test", second)]
        let loaded = RouteTable.load(routes, seed: 1)
        #expect((loaded.table == nil) == tie)
        guard tie else { return }
        let problem = try #require(loaded.problems.first)
        #expect(problem.location.path == "routes[1]")
        #expect(problem.message.contains("routes[0] on line 10"))
    }

    @Test func `the same path on two hosts is no tie`() {
        let routes = [
            Fixture.route(0, host: "a.test", "/x"), Fixture.route(1, host: "*.a.test", "/x"), Fixture.route(2, "/x"),
        ]
        #expect(RouteTable.load(routes, seed: 1).problems == [])
    }

    @Test func `every problem is reported, not only the first`() {
        let routes = [Fixture.route(0, "a"), Fixture.route(1, "/x"), Fixture.route(2, "/x"), Fixture.route(3, "/a//b")]
        let places = RouteTable.load(routes, seed: 1).problems.map(\.location.path)
        #expect(places == ["routes[0]", "routes[2]", "routes[3]"])
    }

    private func warnings(
        _ first: (String, GatewayConfiguration.Route.Access), _ second: (String, GatewayConfiguration.Route.Access)
    ) -> [String] {
        let routes = [Fixture.route(0, first.0, access: first.1), Fixture.route(1, second.0, access: second.1)]
        let loaded = RouteTable.load(routes, seed: 1)
        #expect(loaded.table != nil)
        #expect(loaded.problems.allSatisfy { $0.severity == .warning })
        return loaded.problems.map { "\($0.location.path) \($0.message.contains("beneath") ? "beneath" : "shadowed")" }
    }

    @Test func `a public or optional route beneath a protected one is worth a warning`() {
        let rules = GatewayConfiguration.Route.Access.rules([Fixture.rule()])
        #expect(warnings(("/**", rules), ("/static/**", .open)) == ["routes[1] beneath"])
        #expect(warnings(("/**", rules), ("/whoami", .optional)) == ["routes[1] beneath"])
        #expect(warnings(("/*/b", rules), ("/a/b", .open)) == ["routes[1] beneath"])
        #expect(warnings(("/a/**", rules), ("/static/**", .open)) == [])
        #expect(warnings(("/**", .open), ("/admin/**", rules)) == [])
        #expect(warnings(("/**", .open), ("/static/**", .open)) == [])
        #expect(warnings(("/a/b", rules), ("/a/*", .open)) == [])
    }

    @Test func `a route with requirements that loses some of its paths is worth a warning`() throws {
        let rules = GatewayConfiguration.Route.Access.rules([Fixture.rule()])
        let others = GatewayConfiguration.Route.Access.rules([Fixture.rule(.role(try Fixture.role("admin")))])
        #expect(warnings(("/*/secret", rules), ("/a/**", .open)) == ["routes[0] shadowed"])
        #expect(warnings(("/*/secret", rules), ("/a/**", others)) == ["routes[0] shadowed"])
        #expect(warnings(("/*/secret", rules), ("/a/**", rules)) == [])
        #expect(warnings(("/*/secret/**", rules), ("/a/*", .open)) == ["routes[0] shadowed"])
        #expect(warnings(("/a/secret", rules), ("/a/**", .open)) == [])
    }

    @Test func `neighbours on different hosts are not compared`() {
        let rules = GatewayConfiguration.Route.Access.rules([Fixture.rule()])
        let routes = [
            Fixture.route(0, host: "a.test", "/**", access: rules), Fixture.route(1, host: "*.test", "/static/**"),
        ]
        #expect(RouteTable.load(routes, seed: 1).problems == [])
    }

    @Test func `order and inclusion of patterns agree with what the table answers`() throws {
        var random = SeededGenerator(seed: 21)
        func pattern() -> String {
            let segments = (0..<Int.random(in: 0...3, using: &random)).map { _ in random.pick(["a", "b", "*"]) }
            let end = random.pick(["", "/**"])
            return segments.isEmpty && end.isEmpty ? "/" : segments.map { "/" + $0 }.joined() + end
        }
        let pieces = ["a", "b", "c"]
        var paths = ["/"]
        for count in 1...4 {
            for number in 0..<81 {
                let digits = [number % 3, number / 3 % 3, number / 9 % 3, number / 27]
                paths.append(digits.prefix(count).map { "/" + pieces[$0] }.joined())
            }
        }
        for _ in 0..<500 {
            let (first, second) = (pattern(), pattern())
            guard first != second else { continue }
            let (left, right) = (try PathPattern(first), try PathPattern(second))
            func matches(_ pattern: String) -> Set<String> {
                Set(paths.filter { SlowMatcher.match([(nil, pattern)], host: "", path: $0) != nil })
            }
            let (ofLeft, ofRight) = (matches(first), matches(second))
            #expect(left.isWithin(right) == ofLeft.isSubset(of: ofRight), "\(first) \(second)")
            for path in ofLeft.intersection(ofRight) {
                let winner = SlowMatcher.match([(nil, first), (nil, second)], host: "", path: path)
                let isAgreed = left.precedes(right) == (winner == 0) && right.precedes(left) == (winner == 1)
                if !isAgreed { Issue.record("\(first) \(second) \(path)") }
            }
        }
    }
}
