import GatewayConfig
import Testing

@testable import AuthGateway

@Suite struct RouteTableTests {
    /// The path of the route that answers, or `nil`.
    private func answer(_ paths: [String], _ path: String) throws -> String? {
        let routes = paths.enumerated().map { Fixture.route($0, $1) }
        let table = try #require(RouteTable.load(routes, seed: 7).table)
        return table.answer("a.test", path).map { paths[$0] }
    }

    @Test(
        arguments: [
            (["/x"], "/x", "/x"), (["/x"], "/x/", "/x"), (["/x/"], "/x", "/x/"), (["/x/"], "/x/", "/x/"),
            (["/x", "/x/"], "/x", "/x"), (["/x", "/x/"], "/x/", "/x/"),
            (["/x"], "/x/y", nil), (["/x"], "/xy", nil), (["/x"], "/", nil), (["/x"], "/X", nil),
            (["/"], "/", "/"), (["/"], "/x", nil), (["/**"], "/", "/**"), (["/**"], "/x/y/z", "/**"),
            (["/x/**"], "/x", "/x/**"), (["/x/**"], "/x/", "/x/**"), (["/x/**"], "/x/y/z", "/x/**"),
            (["/x/**"], "/xy", nil), (["/x/**"], "/", nil),
            (["/x", "/x/**"], "/x/", "/x"), (["/x/", "/x/**"], "/x", "/x/"),
            (["/*"], "/", nil), (["/*"], "/x", "/*"), (["/*"], "/x/", "/*"), (["/*"], "/x/y", nil),
            (["/a/*/c"], "/a//c", nil), (["/a/*/c", "/a/**"], "/a//c", "/a/**"), (["/a/*"], "/a//", nil),
            (["/*/b"], "/*/b", "/*/b"),
        ] as [([String], String, String?)])
    func `a route answers exactly its paths`(paths: [String], path: String, expected: String?) throws {
        #expect(try answer(paths, path) == expected)
    }

    @Test(
        arguments: [
            (["/a/b", "/a/*", "/a/**", "/**"], "/a/b", "/a/b"),
            (["/a/b", "/a/*", "/a/**", "/**"], "/a/c", "/a/*"),
            (["/a/b", "/a/*", "/a/**", "/**"], "/a/c/d", "/a/**"),
            (["/a/b", "/a/*", "/a/**", "/**"], "/b", "/**"),
            (["/a/*/c", "/a/b/**"], "/a/b/c", "/a/b/**"),
            (["/a/*/c", "/a/b/d"], "/a/b/c", "/a/*/c"),
            (["/*/secret", "/a/**"], "/a/secret", "/a/**"),
            (["/*/secret", "/a/**"], "/b/secret", "/*/secret"),
            (["/*/*/x", "/a/b/y", "/a/*/z"], "/a/b/x", "/*/*/x"),
            (["/*/*/x", "/a/b/y", "/a/*/z"], "/a/b/z", "/a/*/z"),
        ] as [([String], String, String?)])
    func `from the left a literal goes before a star before a rest and the search backs up`(
        paths: [String], path: String, expected: String?
    ) throws {
        #expect(try answer(paths, path) == expected)
        #expect(try answer(paths.reversed(), path) == expected)
    }

    @Test(
        arguments: [
            ("/user@example", "/user%40example", "/user@example"),
            ("/user%40example", "/user@example", "/user%40example"),
            ("/a%3Bb", "/a;b", "/a%3Bb"), ("/a%2525", "/a%2525", "/a%2525"), ("/a%2525", "/a%25", nil),
            ("/a%2525", "/a%252525", nil), ("/%2A", "/*", "/%2A"), ("/%2A", "/x", nil),
            ("/caf%C3%A9", "/caf%C3%A9", "/caf%C3%A9"),
            ("/admin", "/admi%6E", "/admin"), ("/ab", "/a%2Fb", nil), ("/a/b", "/a%2Fb", nil), ("/abc", "/ab%63d", nil),
            ("/abcd", "/ab%63", nil),
        ] as [(String, String, String?)])
    func `R09 an escape and its byte are the same literal and an encoded slash is no separator`(
        pattern: String, path: String, expected: String?
    ) throws {
        #expect(try answer([pattern], path) == expected)
    }

    @Test func `a path that is not absolute matches nothing`() throws {
        #expect(try answer(["/**"], "*") == nil)
        #expect(try answer(["/**"], "") == nil)
        #expect(try answer(["/**"], "x") == nil)
    }

    private static let hosts = [
        "billing.test", "*.test", "*.a.test", "x.a.test", nil, "*.b.a.test", "10.0.0.1", "[::1]",
    ]

    @Test(
        arguments: [
            ("billing.test", "billing.test"), ("other.test", "*.test"), ("test", nil), ("y.a.test", "*.a.test"),
            ("x.a.test", "x.a.test"), ("a.test", "*.test"), ("z.x.a.test", "*.a.test"), ("b.a.test", "*.a.test"),
            ("c.b.a.test", "*.b.a.test"), ("d.c.b.a.test", "*.b.a.test"), (".a.test", "*.test"), (".test", nil),
            ("a.test.evil", nil), ("xa.test", "*.test"), ("billing.test.", nil), ("", nil), ("10.0.0.1", "10.0.0.1"),
            ("[::1]", "[::1]"), ("[::2]", nil), ("xbilling.test", "*.test"), ("TEST", nil),
        ] as [(String, String?)])
    func `the exact host decides, then the longest wildcard, then the routes without host`(
        host: String, expected: String?
    ) throws {
        let routes = RouteTableTests.hosts.enumerated().map { Fixture.route($0, host: $1, "/**") }
        let table = try #require(RouteTable.load(routes, seed: 7).table)
        let index = try #require(table.answer(host, "/p"))
        #expect(RouteTableTests.hosts[index] == expected)
    }

    @Test func `R11 the most specific host that has a route decides alone`() throws {
        let routes = [
            Fixture.route(0, host: "pay.a.test", "/invoices/**", access: .rules([Fixture.rule()])),
            Fixture.route(1, host: "*.a.test", "/reports/**"), Fixture.route(2, "/**"),
        ]
        let table = try #require(RouteTable.load(routes, seed: 7).table)
        func match(_ host: String, _ path: String) -> Int? { table.answer(host, path) }
        #expect(match("pay.a.test", "/invoices/7") == 0)
        #expect(match("pay.a.test", "/reports/7") == nil)
        #expect(match("pay.a.test", "/other") == nil)
        #expect(match("x.a.test", "/reports/7") == 1)
        #expect(match("x.a.test", "/other") == nil)
        #expect(match("elsewhere.test", "/other") == 2)
        #expect(match("", "/other") == 2)
    }

    @Test func `a host without routes of its own and without a general one is not answered`() throws {
        let table = try #require(RouteTable.load([Fixture.route(host: "a.test", "/**")], seed: 7).table)
        #expect(table.answer("b.test", "/") == nil)
        #expect(try #require(RouteTable.load([], seed: 7).table).answer("", "/") == nil)
    }

    /// Every combination of `a` and `*` over `depth` segments, which only a last literal tells apart.
    private func overlapping(depth: Int) -> [GatewayConfiguration.Route] {
        (0..<(1 << depth)).map { bits in
            let path = (0..<depth).map { bits >> $0 & 1 == 0 ? "/a" : "/*" }.joined()
            return Fixture.route(bits, path + "/end\(bits)")
        }
    }

    @Test func `the steps of a search stay within the bound computed at load`() throws {
        let table = try #require(RouteTable.load(overlapping(depth: 6), seed: 7).table)
        let path = String(repeating: "/a", count: 6)
        let miss = table.search("", "\(path)/none")
        #expect(miss.route == nil)
        #expect(miss.steps == 127)
        #expect(table.stepsMax == 191)
        let hit = table.search("", "\(path)/end63")
        #expect(hit.route == 63)
        #expect(hit.steps == 128)
    }

    @Test func `a file whose routes overlap without measure does not load`() throws {
        #expect(RouteTable.load(overlapping(depth: 6), seed: 7).table != nil)
        let refused = RouteTable.load(overlapping(depth: 7), seed: 7)
        #expect(refused.table == nil)
        #expect(refused.problems.map(\.location.path) == ["routes[0]"])
    }

    @Test func `the steps do not grow with the number of routes`() throws {
        var random = SeededGenerator(seed: 5)
        for count in [10, 1_000, 10_000] {
            let routes = (0..<count).map { Fixture.route($0, "/service\($0)/items/*") }
            let table = try #require(RouteTable.load(routes, seed: 7).table)
            for _ in 0..<100 {
                let wanted = Int.random(in: 0..<count, using: &random)
                let found = table.search("", "/service\(wanted)/items/5")
                #expect(found.route == wanted)
                #expect(found.steps == 4)
            }
        }
    }
}
