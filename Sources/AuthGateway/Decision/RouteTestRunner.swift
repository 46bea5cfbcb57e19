import GatewayConfig
import IdentityModel
import Policy

/// Runs the `tests:` of a file against the routes it describes, with the matching and the decision that requests get.
struct RouteTestRunner {
    /// A request path after normalisation.
    struct Target {
        /// What is matched and goes upstream.
        var path: [UInt8]
        /// The bytes that stay encoded in it and are refused on routes that do not list them.
        var encodedBytes: Set<UInt8> = []
        /// The other ways in which an application may read the path.
        var otherReadings: [[UInt8]] = []
    }

    let table: RouteTable
    /// In the order of the table's routes; `nil` for one with an error, whose answers nobody knows.
    let routes: [CompiledRoute?]
    /// Host patterns whose answers nobody knows, because a route of theirs could not be read; `nil` is every host.
    var unreadHosts: [String?] = []
    /// The scopes of each role.
    let grants: [Role: Set<Scope>]
    /// Normalises a path; `nil` for one that is answered 400.
    let normalize: ([UInt8]) -> Target?

    /// One problem for each test that does not end as expected. A test that an error elsewhere could decide is left out:
    /// it would only report that error again.
    func problems(in tests: [GatewayConfiguration.RouteTest]) -> [RouteProblem] {
        tests.compactMap { test in
            guard let url = TestURL(test.url) else {
                return RouteProblem(
                    severity: .error, location: test.location, message: "'\(test.url)' is no absolute URL",
                    cure: "write it like https://app.example.com/path")
            }
            guard !unreadHosts.contains(where: { url.isHost($0) }) else { return nil }
            guard let outcome = outcome(of: test, url), outcome != test.expect else { return nil }
            return RouteProblem(
                severity: .error, location: test.location,
                message: "\(test.method) \(test.url) ends in \(outcome.text), not in \(test.expect.text)",
                cure: RouteTestRunner.cure(expected: test.expect))
        }
    }

    /// `nil` where a route with an error decides.
    private func outcome(
        of test: GatewayConfiguration.RouteTest, _ url: TestURL
    ) -> GatewayConfiguration.RouteTest.Expectation? {
        guard let target = normalize(url.path) else { return .status(400) }
        let index = table.match(host: url.host.span, path: target.path.span)
        for reading in target.otherReadings where table.match(host: url.host.span, path: reading.span) != index {
            return .status(400)
        }
        guard let index else { return .status(404) }
        guard let route = routes[index] else { return nil }
        guard target.encodedBytes.isSubset(of: route.allowEncoded) else { return .status(400) }
        let rule: Int?
        switch route.match(method: Array(test.method.utf8).span, isPreflight: false) {
        case .notAllowed: return .status(405)
        case .noRules: rule = nil
        case .rule(let index): rule = index
        }
        let claims = claims(of: test)
        let kind: CredentialKind = [.session, .jwt].first { route.accepts($0) } ?? .certificate
        let decision = decide(
            route: route, rule: rule, claims: claims, credential: claims == nil ? .absent : .valid(kind),
            isPreflight: false)
        switch decision {
        case .allow: return .allow
        case .challenge: return test.expect == .status(401) ? .status(401) : .challenge
        case .deny: return test.expect == .status(403) ? .status(403) : .deny
        }
    }

    private func claims(of test: GatewayConfiguration.RouteTest) -> SubjectClaims? {
        guard test.scopes != nil || !test.roles.isEmpty else { return nil }
        let given = SubjectClaims(
            subject: Subject(issuer: "test", identifier: "test"), username: "test", roles: test.roles,
            scopes: test.scopes ?? [])
        return given.completed(grants: grants)
    }

    private static func cure(expected: GatewayConfiguration.RouteTest.Expectation) -> String {
        switch expected {
        case .status(let status) where ![400, 401, 403, 404, 405].contains(status):
            "the answers that can be foreseen are allow, challenge, deny, 400, 401, 403, 404 and 405"
        default: "correct the routes, or the test"
        }
    }
}

/// The parts of a test's URL that matter for routing.
private struct TestURL {
    let host: [UInt8]
    /// As a request would have it, up to the query.
    let path: [UInt8]

    init?(_ text: String) {
        guard let scheme = ["https://", "http://"].first(where: text.hasPrefix) else { return nil }
        let rest = text.utf8.dropFirst(scheme.utf8.count)
        let authority = rest.prefix { !"/?#".utf8.contains($0) }
        let target = rest.dropFirst(authority.count)
        guard !authority.isEmpty, !authority.contains(UInt8(ascii: "@")) else { return nil }
        var name = Array(authority)
        if let colon = name.lastIndex(of: UInt8(ascii: ":")), !name[colon...].contains(UInt8(ascii: "]")) {
            guard name[(colon + 1)...].allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
                return nil
            }
            name.removeSubrange(colon...)
        }
        if name.last == UInt8(ascii: ".") { name.removeLast() }
        guard !name.isEmpty else { return nil }
        host = name.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
        let path = Array(target.prefix { $0 != UInt8(ascii: "?") })
        self.path = path.isEmpty ? [UInt8(ascii: "/")] : path
    }

    /// Whether the host is one that a route's `host` stands for; `nil` is every host.
    func isHost(_ pattern: String?) -> Bool {
        guard let pattern else { return true }
        guard pattern.hasPrefix("*.") else { return host.elementsEqual(pattern.utf8) }
        return host.count >= pattern.utf8.count
            && host.suffix(pattern.utf8.count - 1).elementsEqual(pattern.utf8.dropFirst())
    }
}

extension GatewayConfiguration.RouteTest.Expectation {
    fileprivate var text: String {
        switch self {
        case .allow: "allow"
        case .challenge: "challenge"
        case .deny: "deny"
        case .status(let status): "\(status)"
        }
    }
}
