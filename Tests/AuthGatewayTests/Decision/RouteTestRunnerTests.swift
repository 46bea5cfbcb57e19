import GatewayConfig
import IdentityModel
import Testing

@testable import AuthGateway
@testable import GatewayConfig

@Suite struct RouteTestRunnerTests {
    private func problems(
        _ when: String, scopes: [String]? = nil, roles: [String] = [],
        expect: GatewayConfiguration.RouteTest.Expectation
    ) throws -> [RouteProblem] {
        let routes = [
            Fixture.route(0, host: "a.test", "/static/**"),
            Fixture.route(
                1, host: "a.test", "/invoices/**",
                access: .rules([
                    Fixture.rule(.scope(try Fixture.scope("invoices:read")), methods: ["GET"]),
                    Fixture.rule(.role(try Fixture.role("admin")), methods: ["DELETE"]),
                ])),
            Fixture.route(2, host: "a.test", "/whoami", access: .optional),
            Fixture.route(
                3, host: "a.test", "/files/*", access: .rules([Fixture.rule()]), allowEncoded: [UInt8(ascii: "/")]),
        ]
        let names = ConfigurationNames(upstreams: ["app"], limits: [])
        let runner = RouteTestRunner(
            table: try #require(RouteTable.load(routes, seed: 9).table),
            routes: try routes.enumerated().map { try CompiledRoute($1, index: $0, in: names) },
            grants: [try Fixture.role("pm"): [try Fixture.scope("invoices:read")]],
            normalize: { path in
                let text = String(decoding: path, as: UTF8.self)
                guard !text.contains("#") else { return nil }
                return RouteTestRunner.Target(
                    path: path, encodedBytes: text.contains("%2F") ? [UInt8(ascii: "/")] : [],
                    otherReadings: text.contains("//")
                        ? [text.split(separator: "/").map { "/" + $0 }.joined().bytes] : [])
            })
        let words = when.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let test = GatewayConfiguration.RouteTest(
            location: Fixture.location(0, "tests"), method: words[0], url: words[1],
            scopes: try scopes.map { Set(try $0.map(Fixture.scope)) }, roles: Set(try roles.map(Fixture.role)),
            expect: expect)
        return runner.problems(in: [test])
    }

    @Test func `a test that ends as expected is no problem`() throws {
        #expect(try problems("GET https://a.test/static/x.css", expect: .allow) == [])
        #expect(try problems("GET https://a.test/whoami", expect: .allow) == [])
        #expect(try problems("GET https://a.test/invoices/7", expect: .challenge) == [])
        #expect(try problems("GET https://a.test/invoices/7", expect: .status(401)) == [])
        #expect(try problems("GET https://a.test/invoices/7", scopes: ["invoices:read"], expect: .allow) == [])
        #expect(try problems("GET https://a.test/invoices/7", scopes: [], expect: .deny) == [])
        #expect(try problems("GET https://a.test/invoices/7", scopes: ["x"], expect: .status(403)) == [])
        #expect(try problems("GET https://a.test/invoices/7", roles: ["pm"], expect: .allow) == [])
        #expect(try problems("DELETE https://a.test/invoices/7", roles: ["admin"], expect: .allow) == [])
        #expect(try problems("DELETE https://a.test/invoices/7", scopes: ["api:system:admin"], expect: .allow) == [])
        #expect(try problems("HEAD https://a.test/invoices/7", scopes: ["invoices:*"], expect: .allow) == [])
        #expect(try problems("PUT https://a.test/invoices/7", expect: .status(405)) == [])
        #expect(try problems("GET https://a.test/elsewhere", expect: .status(404)) == [])
        #expect(try problems("GET https://b.test/invoices/7", expect: .status(404)) == [])
        #expect(try problems("GET https://a.test/a#b", expect: .status(400)) == [])
        #expect(try problems("GET https://a.test/invoices/a%2Fb", expect: .status(400)) == [])
        #expect(try problems("GET https://a.test/files/a%2Fb", expect: .challenge) == [])
        #expect(try problems("GET https://a.test//whoami", expect: .status(400)) == [])
        #expect(try problems("GET https://a.test/invoices//7", expect: .challenge) == [])
    }

    @Test func `host, port and query of the URL are read as those of a request`() throws {
        for url in [
            "https://A.test:8443/whoami", "http://a.test./whoami?x=/invoices/", "https://a.test.:443/whoami/?",
        ] {
            #expect(try problems("GET \(url)", expect: .allow) == [])
        }
        #expect(try problems("GET https://a.test", expect: .status(404)) == [])
        #expect(try problems("GET https://a.test?x", expect: .status(404)) == [])
    }

    @Test func `a test that ends otherwise names both ends`() throws {
        let found = try problems("GET https://a.test/invoices/7", scopes: ["x"], expect: .allow)
        #expect(found.map(\.message) == ["GET https://a.test/invoices/7 ends in deny, not in allow"])
        #expect(found.map(\.severity) == [.error])
        #expect(try problems("GET https://a.test/whoami", expect: .status(200)).count == 1)
        #expect(try problems("GET https://a.test/invoices/7", expect: .deny).count == 1)
        #expect(try problems("GET https://a.test/invoices/7", expect: .status(403)).count == 1)
        #expect(try problems("GET https://a.test/static/x", expect: .challenge).count == 1)
    }

    @Test(arguments: [
        "a.test/x", "ftp://a.test/", "https:///x", "https://u@a.test/", "https://a.test:x/", "", "https://:1/",
    ])
    func `what is no URL is a problem`(url: String) throws {
        #expect(try problems("GET \(url)", expect: .status(404)).map(\.location.path) == ["tests[0]"])
    }
}
