import GatewayConfig
import IdentityModel
import Policy
import ProxyCore

/// What a route of the file becomes at load: all that its exchanges ask for, by index and in bytes.
final class CompiledRoute: Sendable {
    enum Access: Sendable { case open, optional, rules }

    enum Target: Sendable, Equatable {
        /// An index in the configuration's `upstreams`.
        case upstream(Int)
        case identity
    }

    struct Rule: Sendable {
        let requirement: CompiledRequirement
        fileprivate let limits: LimitIndices
    }

    /// The place in the configuration's `routes`, which `RouteTable` answers with.
    let index: Int
    /// The name in logs and metrics.
    let name: [UInt8]
    let target: Target
    let access: Access
    let methods: MethodRules
    let rules: [Rule]
    /// How the subject is named to the application.
    let headers: GatewayConfiguration.Route.HeaderPreset
    /// Whether the credential goes on to the application.
    let forwardsCredential: Bool
    /// Whether a preflight passes without identity.
    let passesPreflight: Bool
    /// Encoded bytes let through, out of those that are refused else.
    let allowEncoded: Set<UInt8>
    /// The longest request body; `nil` for no bound.
    let bodyBytesMax: Int?
    /// Whether the request's body is read whole before the request goes on.
    let buffersRequest: Bool
    /// Whether answers are taken faster than their clients take them.
    let buffersResponse: Bool
    /// In nanoseconds; `nil` for what the listener says.
    let requestTimeout: UInt64?
    /// Fields behind a body that are passed on; `nil` for none.
    let trailers: TrailerNames?
    let securityFields: SecurityFields
    /// Whether the route or one of its rules names a limit.
    let isLimited: Bool
    private let limits: LimitIndices
    private let acceptsSession: Bool
    private let acceptsJWT: Bool
    private let acceptsCertificate: Bool

    /// Resolves the names in a route of the file.
    /// - Throws: when a name is not in the configuration, which its reader should have noticed.
    init(
        _ route: GatewayConfiguration.Route, index: Int, in names: ConfigurationNames
    ) throws(UnresolvedName) {
        self.index = index
        name = Array(route.name.utf8)
        switch route.target {
        case .identity: target = .identity
        case .upstream(let name): target = .upstream(try names.upstream(name))
        }
        let limits = try LimitIndices(route.limits, in: names)
        self.limits = limits
        switch route.access {
        case .open, .optional:
            access = route.access == .open ? .open : .optional
            methods = .none
            rules = []
        case .rules(let sources):
            access = .rules
            methods = MethodRules(methods: sources.map(\.methods))
            var rules: [Rule] = []
            for rule in sources {
                rules.append(
                    Rule(
                        requirement: CompiledRequirement(rule.require),
                        limits: limits.adding(try LimitIndices(rule.limits, in: names))))
            }
            self.rules = rules
        }
        isLimited = !limits.isEmpty || rules.contains { !$0.limits.isEmpty }
        headers = route.headers
        forwardsCredential = route.forwardCredential
        passesPreflight = route.preflightPass
        allowEncoded = route.allowEncoded
        bodyBytesMax = route.bodyBytesMax
        buffersRequest = route.bufferRequest
        buffersResponse = route.bufferResponse
        requestTimeout = route.requestTimeout?.nanosecondsForTimers
        let hasTrailers = !route.requestTrailers.isEmpty || !route.responseTrailers.isEmpty
        trailers = hasTrailers ? TrailerNames(request: route.requestTrailers, response: route.responseTrailers) : nil
        securityFields = SecurityFields(route.securityHeaders)
        acceptsSession = route.access != .open && route.credentials.contains(.session)
        acceptsJWT = route.access != .open && route.credentials.contains(.jwt)
        acceptsCertificate = route.access != .open && route.credentials.contains(.certificate)
    }

    /// Whether a credential of this kind counts here; on open routes none does.
    func accepts(_ kind: CredentialKind) -> Bool {
        switch kind {
        case .none: false
        case .session: acceptsSession
        case .jwt: acceptsJWT
        case .certificate: acceptsCertificate
        }
    }

    /// Whether the request's credentials are looked at: not on open routes, and not in a preflight that passes.
    func readsCredentials(isPreflight: Bool) -> Bool {
        access != .open && !(isPreflight && passesPreflight)
    }

    /// The rule for a request. A preflight that passes falls under none.
    func match(method: Span<UInt8>, isPreflight: Bool) -> MethodRules.Match {
        isPreflight && passesPreflight ? .noRules : methods.match(method)
    }

    /// Limits keyed by address or route, of the route and of the rule: indices in the configuration's `limits`.
    func limitsBeforeAuthentication(rule: Int?) -> [Int] { (rule.map { rules[$0].limits } ?? limits).before }

    /// Limits keyed by the subject, likewise.
    func limitsAfterAuthentication(rule: Int?) -> [Int] { (rule.map { rules[$0].limits } ?? limits).after }

    /// A method and a field are what make a preflight (Fetch standard, section "CORS protocol").
    static func isPreflight(method: Span<UInt8>, hasRequestMethodField: Bool) -> Bool {
        guard hasRequestMethodField, method.count == 7 else { return false }
        var index = 0
        for byte in "OPTIONS".utf8 {
            guard method[index] == byte else { return false }
            index += 1
        }
        return true
    }
}

/// Indices of limits, split by when they are asked.
private struct LimitIndices: Sendable {
    var before: [Int] = []
    var after: [Int] = []
    var isEmpty: Bool { before.isEmpty && after.isEmpty }

    init(_ limits: [String], in names: ConfigurationNames) throws(UnresolvedName) {
        for name in limits {
            let limit = try names.limit(name)
            switch limit.key {
            case .address, .route: before.appendOnce(limit.index)
            case .subject: after.appendOnce(limit.index)
            }
        }
    }

    func adding(_ other: LimitIndices) -> LimitIndices {
        var sum = self
        for index in other.before { sum.before.appendOnce(index) }
        for index in other.after { sum.after.appendOnce(index) }
        return sum
    }
}

extension [Int] {
    /// A limit that the route and its rule both name is spent once.
    fileprivate mutating func appendOnce(_ index: Int) {
        if !contains(index) { append(index) }
    }
}
