import GatewayConfig
import IdentityModel
import Testing

@testable import AuthGateway

@Suite struct CompiledRouteTests {
    private static let names = ConfigurationNames(
        upstreams: ["billing", "app"],
        limits: [("per-address", .address), ("per-user", .subject), ("whole", .route), ("login", .address)])

    @Test func `limits are split by what they are keyed by and those of a rule come with those of its route`() throws {
        let access = GatewayConfiguration.Route.Access.rules([
            Fixture.rule(limits: ["login", "per-user"]), Fixture.rule(limits: ["per-address"]), Fixture.rule(),
        ])
        let route = try CompiledRoute(
            Fixture.route(access: access, limits: ["per-address", "whole"]), index: 4, in: Self.names)
        #expect(route.limitsBeforeAuthentication(rule: nil) == [0, 2])
        #expect(route.limitsAfterAuthentication(rule: nil) == [])
        #expect(route.limitsBeforeAuthentication(rule: 0) == [0, 2, 3])
        #expect(route.limitsAfterAuthentication(rule: 0) == [1])
        #expect(route.limitsBeforeAuthentication(rule: 1) == [0, 2])
        #expect(route.limitsBeforeAuthentication(rule: 2) == [0, 2])
        #expect(route.index == 4)
    }

    @Test func `a route is limited if it or any of its rules names a limit`() throws {
        func isLimited(rules: [String]..., route limits: [String] = []) throws -> Bool {
            let access = GatewayConfiguration.Route.Access.rules(rules.map { Fixture.rule(limits: $0) })
            return try CompiledRoute(Fixture.route(access: access, limits: limits), index: 0, in: Self.names).isLimited
        }
        #expect(try !isLimited(rules: [], []))
        #expect(try isLimited(rules: [], ["login"]))
        #expect(try isLimited(rules: ["per-user"], []))
        #expect(try isLimited(rules: [], route: ["whole"]))
        #expect(try isLimited(route: ["per-user"]))
        for access in [GatewayConfiguration.Route.Access.open, .optional] {
            #expect(try !CompiledRoute(Fixture.route(access: access), index: 0, in: Self.names).isLimited)
            let route = Fixture.route(access: access, limits: ["per-address"])
            #expect(try CompiledRoute(route, index: 0, in: Self.names).isLimited)
        }
    }

    @Test func `R115 a name that nobody defines is an error`() throws {
        #expect(throws: UnresolvedName(kind: .upstream, name: "bill")) {
            try CompiledRoute(Fixture.route(target: .upstream("bill")), index: 0, in: Self.names)
        }
        #expect(throws: UnresolvedName(kind: .limit, name: "none")) {
            try CompiledRoute(Fixture.route(limits: ["none"]), index: 0, in: Self.names)
        }
        let access = GatewayConfiguration.Route.Access.rules([Fixture.rule(limits: ["other"])])
        #expect(throws: UnresolvedName(kind: .limit, name: "other")) {
            try CompiledRoute(Fixture.route(access: access), index: 0, in: Self.names)
        }
    }

    @Test func `targets are indices`() throws {
        #expect(try CompiledRoute(Fixture.route(), index: 0, in: Self.names).target == .upstream(1))
        let identity = try CompiledRoute(Fixture.route(target: .identity), index: 0, in: Self.names)
        #expect(identity.target == .identity)
    }

    @Test func `an open route accepts no credential whatever it lists`() throws {
        let open = try CompiledRoute(Fixture.route(access: .open), index: 0, in: Self.names)
        let optional = try CompiledRoute(
            Fixture.route(access: .optional, credentials: [.jwt]), index: 0, in: Self.names)
        #expect(CredentialKind.allCases.filter(open.accepts) == [])
        #expect(CredentialKind.allCases.filter(optional.accepts) == [.jwt])
        #expect(!open.readsCredentials(isPreflight: false))
        #expect(optional.readsCredentials(isPreflight: true))
    }

    @Test func `a preflight that passes is not refused for its method`() throws {
        let access = GatewayConfiguration.Route.Access.rules([Fixture.rule(methods: ["GET"])])
        for passes in [false, true] {
            let route = try CompiledRoute(
                Fixture.route(access: access, preflightPass: passes), index: 0, in: Self.names)
            let preflight = route.match(method: "OPTIONS".bytes.span, isPreflight: true)
            let plain = route.match(method: "OPTIONS".bytes.span, isPreflight: false)
            #expect(preflight == (passes ? .noRules : .notAllowed))
            #expect(plain == .notAllowed)
        }
    }
}
