import GatewayConfig
import IdentityModel
import Policy
import Testing

@testable import AuthGateway

/// The decision as the prose has it, one sentence a line, from the values of the file and not from compiled ones.
private func slowly(
    _ route: GatewayConfiguration.Route, _ rule: Int?, _ claims: SubjectClaims?, _ credential: CredentialState,
    _ isPreflight: Bool
) -> Decision {
    // Public routes read no credential.
    if route.access == .open { return .allow }
    // A preflight passes without identity only where the route says so.
    if isPreflight, route.preflightPass { return .allow }
    // Explicit and wrong is 401, on optional routes too.
    if case .invalid(let fault) = credential { return .challenge(.credentialInvalid(fault)) }
    // The route lists the credentials it accepts; any other is none.
    var subject: SubjectClaims?
    for kind in route.credentials where credential == .valid(kind) && kind != .none { subject = claims }
    // Without any an optional route goes on, and every other asks for one.
    guard let subject else {
        return route.access == .optional ? .challengeUnlessAbsent(credential) : .challenge(.credentialAbsent)
    }
    // Deny by default.
    guard case .rules(let rules) = route.access else { return .allow }
    for (index, source) in rules.enumerated() where index == rule {
        if case .missing(scopes: let scopes, roles: let roles) = Policy.evaluate(source.require, claims: subject) {
            return .deny(missing: scopes, roles: roles)
        }
        return .allow
    }
    return .deny(missing: [], roles: [])
}

extension Decision {
    /// A credential that was believed although the route does not accept it is a mistake of ours, and never let through.
    fileprivate static func challengeUnlessAbsent(_ credential: CredentialState) -> Decision {
        credential == .absent ? .allow : .challenge(.credentialAbsent)
    }
}

@Suite struct DecisionTests {
    private static let names = ConfigurationNames(upstreams: ["app"], limits: [])

    private func decided(
        _ access: GatewayConfiguration.Route.Access, _ credential: CredentialState, _ claims: SubjectClaims? = nil,
        rule: Int? = nil, preflightPass: Bool = false, isPreflight: Bool = false
    ) throws -> Decision {
        let route = try CompiledRoute(
            Fixture.route(access: access, preflightPass: preflightPass), index: 0, in: Self.names)
        return decide(route: route, rule: rule, claims: claims, credential: credential, isPreflight: isPreflight)
    }

    @Test func `a public route lets everything through and judges nothing`() throws {
        for credential in [CredentialState.absent, .invalid(.forged), .valid(.jwt)] {
            #expect(try decided(.open, credential) == .allow)
        }
    }

    @Test(arguments: CredentialFault.allCases)
    func `an explicit credential that is wrong is challenged on optional routes too`(fault: CredentialFault) throws {
        let claims = try Fixture.claims(scopes: ["a"])
        #expect(try decided(.optional, .invalid(fault)) == .challenge(.credentialInvalid(fault)))
        #expect(try decided(.optional, .invalid(fault), claims) == .challenge(.credentialInvalid(fault)))
        let rules = GatewayConfiguration.Route.Access.rules([Fixture.rule()])
        #expect(try decided(rules, .invalid(fault), claims, rule: 0) == .challenge(.credentialInvalid(fault)))
    }

    @Test func `an optional route goes on without a credential and a protected one asks for it`() throws {
        let rules = GatewayConfiguration.Route.Access.rules([Fixture.rule()])
        #expect(try decided(.optional, .absent) == .allow)
        #expect(try decided(rules, .absent, rule: 0) == .challenge(.credentialAbsent))
        #expect(try decided(rules, .valid(.session), try Fixture.claims(), rule: 0) == .allow)
    }

    @Test func `claims count for nothing unless the credential is valid`() throws {
        let rules = GatewayConfiguration.Route.Access.rules([Fixture.rule()])
        #expect(try decided(rules, .absent, try Fixture.claims(), rule: 0) == .challenge(.credentialAbsent))
        #expect(try decided(rules, .valid(.jwt), nil, rule: 0) == .challenge(.credentialAbsent))
        #expect(try decided(rules, .valid(.none), try Fixture.claims(), rule: 0) == .challenge(.credentialAbsent))
    }

    @Test func `whoever lacks a right is denied and told which`() throws {
        let required = Requirement.allOf([.scope(try Fixture.scope("a:read")), .role(try Fixture.role("pm"))])
        let rules = GatewayConfiguration.Route.Access.rules([Fixture.rule(required)])
        #expect(
            try decided(rules, .valid(.jwt), try Fixture.claims(scopes: ["a:write"]), rule: 0)
                == .deny(missing: [try Fixture.scope("a:read")], roles: [try Fixture.role("pm")]))
        #expect(
            try decided(rules, .valid(.jwt), try Fixture.claims(scopes: ["a:*"], roles: ["pm"]), rule: 0) == .allow)
    }

    @Test func `a route with rules denies where no rule is named`() throws {
        let rules = GatewayConfiguration.Route.Access.rules([Fixture.rule()])
        for rule in [nil, -1, 1, Int.max] as [Int?] {
            #expect(try decided(rules, .valid(.jwt), try Fixture.claims(), rule: rule) == .deny(missing: [], roles: []))
        }
    }

    @Test func `a preflight passes only where the route says so`() throws {
        let rules = GatewayConfiguration.Route.Access.rules([Fixture.rule()])
        #expect(try decided(rules, .absent, preflightPass: true, isPreflight: true) == .allow)
        #expect(try decided(rules, .absent, preflightPass: true) == .challenge(.credentialAbsent))
        #expect(try decided(rules, .absent, isPreflight: true) == .challenge(.credentialAbsent))
    }

    @Test(arguments: [
        ("OPTIONS", true, true), ("OPTIONS", false, false), ("options", true, false), ("GET", true, false),
        ("OPTIONSX", true, false), ("OPTION", true, false), ("", true, false),
    ])
    func `a preflight is OPTIONS with its field`(method: String, hasField: Bool, expected: Bool) {
        let found = CompiledRoute.isPreflight(method: method.bytes.span, hasRequestMethodField: hasField)
        #expect(found == expected)
    }

    @Test func `R120 the decision is the slow one over the whole product of inputs`() throws {
        let read = Requirement.scope(try Fixture.scope("a:read"))
        let admin = Requirement.role(try Fixture.role("admin"))
        let requirements: [Requirement] = [
            .authenticated, read, admin, .allOf([read, admin]), .anyOf([read, admin]), .anyOf([]), .allOf([]),
            .anyOf([.allOf([read, admin]), .scope(try Fixture.scope("*:write"))]),
        ]
        var accesses: [GatewayConfiguration.Route.Access] = [.open, .optional, .rules([])]
        accesses += requirements.map { .rules([Fixture.rule($0)]) }
        accesses += requirements.map { .rules([Fixture.rule(methods: ["GET"]), Fixture.rule($0)]) }
        let subjects: [SubjectClaims?] = [
            nil, try Fixture.claims(), try Fixture.claims(scopes: ["a:read"]), try Fixture.claims(scopes: ["a:*"]),
            try Fixture.claims(scopes: ["a:write"]), try Fixture.claims(roles: ["admin"]),
            try Fixture.claims(scopes: ["*:read"], roles: ["admin", "pm"]), try Fixture.claims(scopes: ["admin"]),
        ]
        let credentials =
            [CredentialState.absent] + CredentialKind.allCases.map { .valid($0) }
            + CredentialFault.allCases.map { .invalid($0) }
        let accepted: [[CredentialKind]] = [[], [.session], [.jwt], [.session, .jwt], [.certificate], [.none]]
        var outcomes: [String: Int] = [:]
        for access in accesses {
            for kinds in accepted {
                for passes in [false, true] {
                    let source = Fixture.route(access: access, credentials: kinds, preflightPass: passes)
                    let route = try CompiledRoute(source, index: 0, in: Self.names)
                    for rule in [nil, 0, 1, 2] as [Int?] {
                        for subject in subjects {
                            for credential in credentials {
                                for isPreflight in [false, true] {
                                    let found = decide(
                                        route: route, rule: rule, claims: subject, credential: credential,
                                        isPreflight: isPreflight)
                                    let expected = slowly(source, rule, subject, credential, isPreflight)
                                    if found != expected {
                                        Issue.record("\(source) \(String(describing: rule)) \(credential) \(found)")
                                    }
                                    switch found {
                                    case .allow: outcomes["allow", default: 0] += 1
                                    case .challenge: outcomes["challenge", default: 0] += 1
                                    case .deny: outcomes["deny", default: 0] += 1
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        let total: Int = outcomes.values.reduce(0, +)
        #expect(total == 233_472)
        #expect(outcomes.values.allSatisfy { $0 > 1_000 } && outcomes.count == 3)
    }
}
