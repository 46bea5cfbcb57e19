import GatewayConfig
import IdentityModel
import Testing

@testable import AuthGateway
@testable import GatewayConfig

/// A small generator with a fixed seed (SplitMix64), so that a failing case comes back.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: elements.indices, using: &self)]
    }
}

/// The values of configuration that tests need, with only what matters to them spelled out.
enum Fixture {
    static func location(_ index: Int, _ list: String = "routes") -> GatewayConfig.SourceLocation {
        GatewayConfig.SourceLocation(path: "\(list)[\(index)]", line: 10 + index, column: 5)
    }

    static func route(
        _ index: Int = 0, host: String? = nil, _ path: String = "/**",
        access: GatewayConfiguration.Route.Access = .open,
        credentials: [CredentialKind] = [.session, .jwt], limits: [String] = [], preflightPass: Bool = false,
        allowEncoded: Set<UInt8> = [], target: GatewayConfiguration.Route.Target = .upstream("app")
    ) -> GatewayConfiguration.Route {
        GatewayConfiguration.Route(
            location: location(index), name: "\(host ?? "")\(path)", host: host, path: path, target: target,
            access: access, credentials: credentials, limits: limits, headers: .auth, forwardCredential: false,
            preflightPass: preflightPass, allowEncoded: allowEncoded, bodyBytesMax: nil, bufferRequest: false,
            bufferResponse: false, requestTimeout: nil,
            requestTrailers: [], responseTrailers: [],
            securityHeaders: .init())
    }

    static func rule(
        _ require: Requirement = .authenticated, methods: [String]? = nil, limits: [String] = []
    ) -> GatewayConfiguration.Rule {
        GatewayConfiguration.Rule(location: location(0, "rules"), methods: methods, require: require, limits: limits)
    }

    static func scope(_ name: String) throws -> Scope { try #require(Scope(name)) }

    static func role(_ name: String) throws -> Role { try #require(Role(name)) }

    static func claims(
        username: String = "ann", scopes: [String] = [], roles: [String] = []
    ) throws -> SubjectClaims {
        SubjectClaims(
            subject: Subject(issuer: "https://issuer.test", identifier: "s-1"), username: username,
            roles: Set(try roles.map(role)), scopes: Set(try scopes.map(scope)))
    }
}

extension String {
    var bytes: [UInt8] { Array(utf8) }
}

extension RouteTable {
    /// The index of the route that answers, and the nodes visited on the way.
    func search(_ host: String, _ path: String) -> (route: Int?, steps: Int) {
        var steps = 0
        let route = match(host: host.bytes.span, path: path.bytes.span, steps: &steps)
        let again = match(host: host.bytes.span, path: path.bytes.span)
        #expect(again == route)
        return (route, steps)
    }

    func answer(_ host: String, _ path: String) -> Int? { search(host, path).route }
}
