import GatewayConfig
import Testing

@testable import AuthGateway

/// Redirects name no host that no route speaks of (R31).
struct KnownHostsTests {
    private static let names = [
        "", "app.example.test", "APP.example.test", "app.example.test.", "example.test", "a.wild.test", "a.b.wild.test",
        "wild.test", "xwild.test", ".wild.test", "wild.test.evil", "a.wild.test.evil", "evil", "evil.app.example.test",
        "app.example.testx", "*.wild.test",
    ]

    @Test(
        arguments: [
            (["app.example.test"], ["app.example.test"]),
            (["*.wild.test"], ["a.wild.test", "a.b.wild.test", "*.wild.test"]),
            (
                ["app.example.test", "*.wild.test", "wild.test"],
                ["app.example.test", "a.wild.test", "a.b.wild.test", "wild.test", "*.wild.test"]
            ),
            ([], []),
        ] as [([String], Set<String>)])
    func `a host is known where a route would answer it`(hosts: [String], known: Set<String>) throws {
        let routes = hosts.enumerated().map { Fixture.route($0.offset, host: $0.element) }
        let found = KnownHosts(routes)
        #expect(Set(Self.names.filter(found.contain)) == known)
        let table = try #require(RouteTable.load(routes, seed: 7).table)
        for name in Self.names {
            #expect(found.contain(name) == (table.answer(name, "/") != nil), "\(name)")
        }
    }

    @Test func `a route for every host knows every host, but not none`() {
        let found = KnownHosts([Fixture.route(0, host: "app.example.test"), Fixture.route(1)])
        #expect(Set(Self.names.filter(found.contain)) == Set(Self.names).subtracting([""]))
    }
}
