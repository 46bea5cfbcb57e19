import GatewayConfig
import HTTPModel
import IdentityModel
import IdentityService
import JOSE
import ProxyCore
import RateLimit

/// A configuration ready to serve: everything that requests ask for, resolved and compiled. Immutable; all workers
/// hold the same one.
final class GatewaySnapshot: Sendable {
    /// A limit of the file, ready to be asked.
    struct Limit: Sendable {
        let name: String
        let rule: RateLimitRule
        let policy: RateLimitPolicy
        let keyspace: RateLimitKeyspace
        /// With the seed that all nodes share.
        let sharedKeyspace: RateLimitKeyspace
        let key: GatewayConfiguration.Limit.Key
        let store: GatewayConfiguration.Limit.Store
        let onStoreError: GatewayConfiguration.Limit.OnStoreError
    }

    /// What the filter needs to know of one listener. A class: every request looks at it, and a copy of its tables would
    /// count a dozen references.
    final class Listener: Sendable {
        /// What tells the address from others, for as long as it is listened on.
        let connections: ConnectionCount
        let redirectToHTTPSPort: UInt16?
        let targetPolicy: TargetPolicy
        let managedFields: ManagedFields
        let tls: TLSContext?
        /// Who client certificates name, by the number of the policy in `tls`; `nil` where none are asked for.
        let certificateSources: [CertificateAuthenticator?]
        /// In nanoseconds; `nil` for no bound.
        let requestTimeout: UInt64?

        init(
            _ listener: GatewayConfiguration.Listener, _ settings: ListenerSettings,
            certificateSources: [CertificateAuthenticator?]
        ) {
            connections = settings.connections
            tls = settings.tls
            self.certificateSources = certificateSources
            redirectToHTTPSPort = listener.redirectToHTTPSPort
            targetPolicy = TargetPolicy(allowInvalidUTF8: listener.allowInvalidUTF8)
            managedFields = ManagedFields(underscoreHeaders: listener.underscoreHeaders)
            requestTimeout = listener.requestTimeout?.nanosecondsForTimers
        }
    }

    let configuration: GatewayConfiguration
    let table: RouteTable
    let routes: [CompiledRoute]
    let listeners: [Listener]
    let listenerSettings: [ListenerSettings]
    let upstreamSettings: [UpstreamSettings]
    /// By upstream; `nil` where exchanges are not counted.
    let upstreamPlaces: [UpstreamPlaces?]
    let authenticators: [TokenAuthenticator]
    let limits: [Limit]
    /// For routes that buffer requests, where there are any.
    let requestBuffering: BodyBuffering?
    /// For routes that buffer answers, where there are any.
    let responseBuffering: BodyBuffering?
    let trustedProxies: TrustedProxies
    let cookieNames: SessionCookieNames
    /// The value of a `Set-Cookie` field that ends the session cookie in the browser.
    let cookieClearing: String
    let sessionPrefix: SourcePrefix
    let identity: HandlerUpstream
    let assertions: AssertionSigner
    let sessions: any SessionAuthority
    /// What the endpoints' names stood for when the configuration was loaded, by upstream.
    let endpoints: [[UpstreamPool.EndpointAddresses]]
    let redisAddresses: [NetworkAddress]
    /// Hosts that some route names, and whether a route takes any host.
    let knownHosts: KnownHosts
    /// For answers to requests that no route was found for.
    let securityFields: SecurityFields

    init(
        configuration: GatewayConfiguration, table: RouteTable, routes: [CompiledRoute],
        listenerSettings: [ListenerSettings], authenticators: [TokenAuthenticator], limits: [Limit],
        requestBuffering: BodyBuffering?, responseBuffering: BodyBuffering?,
        sessionPrefix: SourcePrefix, sessionCookie: SessionCookieSettings, identity: HandlerUpstream,
        assertions: AssertionSigner, sessions: any SessionAuthority,
        endpoints: [[UpstreamPool.EndpointAddresses]], upstreamPlaces: [UpstreamPlaces?],
        redisAddresses: [NetworkAddress]
    ) {
        self.configuration = configuration
        self.table = table
        self.routes = routes
        self.listenerSettings = listenerSettings
        self.authenticators = authenticators
        self.limits = limits
        self.requestBuffering = requestBuffering
        self.responseBuffering = responseBuffering
        self.sessionPrefix = sessionPrefix
        self.identity = identity
        self.assertions = assertions
        self.sessions = sessions
        self.endpoints = endpoints
        self.upstreamPlaces = upstreamPlaces
        self.redisAddresses = redisAddresses
        listeners = zip(configuration.listeners, listenerSettings).map { listener, settings in
            let rules = listener.tls.map { [$0.rules] + $0.hosts.map(\.rules) } ?? []
            return Listener(
                listener, settings,
                certificateSources: rules.map { rules in
                    rules.clientCertificates.map { CertificateAuthenticator($0, in: configuration) }
                })
        }
        upstreamSettings = configuration.upstreams.map(UpstreamSettings.init)
        trustedProxies = TrustedProxies(configuration.trustedProxies)
        cookieNames = SessionCookieNames(configured: sessionCookie.name, others: [IdentityHandler.formCookieName])
        cookieClearing = sessionCookie.clearing
        knownHosts = KnownHosts(configuration.routes)
        securityFields = SecurityFields(configuration.securityHeaders)
    }

    /// What holds for the listener that an exchange came by: at its place, if the same address stands there still, else
    /// wherever the address stands now. `nil` when the file does not name it any more. HOT.
    func listener(of exchange: Exchange) -> Listener? {
        let index = exchange.listenerIndex
        if listeners.indices.contains(index) {
            let listener = listeners[index]
            if exchange.cameBy(listener.connections) { return listener }
        }
        return listeners.first { exchange.cameBy($0.connections) }
    }
}

/// Which hosts the routes speak of; a redirect is given to no other (R31).
struct KnownHosts: Sendable {
    private let takesAny: Bool
    private let exact: Set<String>
    private let suffixes: [String]

    init(_ routes: [GatewayConfiguration.Route]) {
        takesAny = routes.contains { $0.host == nil }
        exact = Set(routes.compactMap(\.host).filter { !$0.hasPrefix("*.") })
        suffixes = routes.compactMap(\.host).filter { $0.hasPrefix("*.") }.map { String($0.dropFirst()) }
    }

    /// - Parameter host: lower case, without port and trailing dot.
    func contain(_ host: String) -> Bool {
        let isBelow = { (suffix: String) in host.utf8.count > suffix.utf8.count && host.hasSuffix(suffix) }
        return !host.isEmpty && (takesAny || exact.contains(host) || suffixes.contains(where: isBelow))
    }
}

extension UpstreamSettings {
    init(_ upstream: GatewayConfiguration.Upstream) {
        self.init(
            name: upstream.name, connectTimeout: upstream.connectTimeout.nanosecondsForTimers,
            firstByteTimeout: upstream.firstByteTimeout.nanosecondsForTimers,
            idleTimeout: upstream.idleTimeout.nanosecondsForTimers,
            keepAliveTimeout: upstream.keepAliveTimeout.nanosecondsForTimers,
            keepAliveConnectionsMax: upstream.keepAliveConnectionsMax,
            headLimits: HeadLimits(bytesMax: upstream.headBytesMax, fieldsMax: 128),
            queueTimeout: upstream.queueTimeout.nanosecondsForTimers)
    }
}
