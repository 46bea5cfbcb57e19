import EventLoop
import GatewayConfig
import HTTPModel
import IdentityModel
import IdentityService
import JOSE
import Logging
import Outbound
import Passwords
import ProxyCore
import RateLimit
import Storage

/// Makes a snapshot of a configuration that `ConfigurationCheck` found sound. Blocks for files and names, so never on a
/// worker.
struct SnapshotBuilder {
    /// What the process keeps over all configurations.
    let process: ProcessResources

    /// A configuration read and compiled for a reload, with everything that blocks already done.
    struct Loaded: Sendable {
        let configuration: GatewayConfiguration
        let compiled: CompiledRoutes
        let contexts: [TLSContext?]
        /// From their file; `nil` where the process has keys of its own.
        let ticketKeys: [TicketKey]?
        let endpoints: [[UpstreamPool.EndpointAddresses]]
        let redisAddresses: [NetworkAddress]
        /// Knows the files as they were before any of them was read: what changes while they are is noticed.
        let watcher: FileWatcher
        let warnings: [ConfigurationProblem]
    }

    /// Reads the file again. Nothing of the running gateway changes.
    func read(_ options: RunOptions) throws(StartError) -> Loaded {
        let ((configuration, compiled), warnings) = try GatewayServer.load(options)
        let watcher = FileWatcher(configuration.watchedFiles)
        do {
            return Loaded(
                configuration: configuration, compiled: compiled,
                contexts: try SnapshotBuilder.tlsContexts(configuration),
                ticketKeys: try SnapshotBuilder.ticketKeys(configuration),
                endpoints: SnapshotBuilder.resolve(configuration.upstreams),
                redisAddresses: SnapshotBuilder.resolve(configuration.redis), watcher: watcher,
                warnings: warnings)
        } catch {
            throw StartError("\(error)")
        }
    }

    /// For each listener with TLS its context; reads certificates and keys.
    static func tlsContexts(_ configuration: GatewayConfiguration) throws(TLSError) -> [TLSContext?] {
        var contexts: [TLSContext?] = []
        for listener in configuration.listeners {
            guard let tls = listener.tls else {
                contexts.append(nil)
                continue
            }
            contexts.append(try TLSContext(TLSSettings(tls)))
        }
        return contexts
    }

    /// The keys of session tickets, where they come from a file.
    static func ticketKeys(_ configuration: GatewayConfiguration) throws(TicketKeysError) -> [TicketKey]? {
        try configuration.tickets.keysPath.map { path throws(TicketKeysError) in try TicketKeyFile.read(path) }
    }

    /// What each listener holds for the workers.
    func listenerSettings(
        _ configuration: GatewayConfiguration, _ contexts: [TLSContext?], _ sockets: ListeningSockets
    ) -> [ListenerSettings] {
        var settings: [ListenerSettings] = []
        for (index, listener) in configuration.listeners.enumerated() {
            let name = listener.address.text
            settings.append(
                ListenerSettings(
                    name: name, tls: contexts[index],
                    port: listener.portSeen(boundTo: sockets.port(of: name) ?? 0),
                    connectionsMax: listener.connectionsMax,
                    connections: sockets.connections(of: name) ?? ConnectionCount(),
                    connectionsPerAddressMax: listener.connectionsPerAddressMax,
                    handshakesMax: listener.handshakesMax,
                    proxyPeers: listener.proxyProtocol.isEmpty ? nil : PeerSet(listener.proxyProtocol),
                    handshakeTimeout: listener.handshakeTimeout.nanosecondsForTimers,
                    headTimeout: listener.headTimeout.nanosecondsForTimers,
                    bodyTimeout: listener.bodyTimeout.nanosecondsForTimers,
                    bodyProgressBytes: listener.bodyProgressBytes,
                    idleTimeout: listener.idleTimeout.nanosecondsForTimers,
                    tunnelIdleTimeout: listener.tunnelIdleTimeout.nanosecondsForTimers,
                    headLimits: HeadLimits(
                        bytesMax: min(listener.headBytesMax, 65_535), fieldsMax: min(listener.fieldsMax, 128)),
                    chunkExtensionBytesMax: listener.chunkExtensionBytesMax, http2: http2(listener), filterIndex: index)
            )
        }
        return settings
    }

    private func http2(_ listener: GatewayConfiguration.Listener) -> HTTP2Settings {
        var settings = HTTP2Settings()
        settings.concurrentStreamsMax = listener.http2.streamsMax
        settings.streamWindow = listener.http2.streamWindow
        settings.connectionWindow = max(settings.connectionWindow, listener.http2.streamWindow)
        settings.glitchUnitsMax = listener.http2.glitchesMax
        return settings
    }

    /// The whole snapshot; the listeners' settings were made before privileges were given up, or are made again.
    func snapshot(
        _ configuration: GatewayConfiguration, _ compiled: CompiledRoutes, listenerSettings: [ListenerSettings],
        endpoints: [[UpstreamPool.EndpointAddresses]], redisAddresses: [NetworkAddress]
    ) throws(SnapshotError) -> GatewaySnapshot {
        let cookie = try sessionCookie(configuration)
        let identity = identityHandler(configuration, cookie)
        let buffering = try buffering(configuration)
        return GatewaySnapshot(
            configuration: configuration, table: compiled.table, routes: compiled.routes,
            listenerSettings: listenerSettings, authenticators: try authenticators(configuration),
            limits: limits(configuration), requestBuffering: buffering.requests,
            responseBuffering: buffering.responses, sessionPrefix: sessionPrefix(configuration), sessionCookie: cookie,
            identity: HandlerUpstream(identity),
            assertions: AssertionSigner(
                key: process.identityKeys.signing, issuer: configuration.identity.issuer),
            sessions: identity.sessions,
            endpoints: endpoints,
            upstreamPlaces: configuration.upstreams.map { process.upstreamPlaces.places(for: $0) },
            redisAddresses: redisAddresses)
    }

    private func sessionCookie(_ configuration: GatewayConfiguration) throws(SnapshotError) -> SessionCookieSettings {
        let session = configuration.authentication.session
        let isSecure = session.isSecure ?? configuration.listeners.contains { $0.tls != nil }
        guard let cookie = SessionCookieSettings(name: session.cookieName, domain: session.domain, isSecure: isSecure)
        else {
            throw SnapshotError("authentication.session: the cookie's name and domain do not fit together")
        }
        return cookie
    }

    private func identityHandler(
        _ configuration: GatewayConfiguration, _ cookie: SessionCookieSettings
    ) -> IdentityHandler {
        let session = configuration.authentication.session
        let settings = IdentitySettings(
            issuer: configuration.identity.issuer, roleScopes: configuration.roles, cookie: cookie,
            allowedReturn: AllowedReturn(origins: origins(configuration)),
            idleTimeout: session.idleTimeout, lifetime: session.lifetime,
            exposeSessionToken: configuration.identity.exposeSessionToken,
            verifyWithoutSession: configuration.identity.verifyWithoutSession == .ok ? .ok : .unauthorized)
        return IdentityHandler(
            settings: settings, database: process.database, keys: process.identityKeys, hasher: process.hasher,
            throttle: process.signInThrottle, revocations: process.revocations, logger: process.logger)
    }

    /// The origins of every host that a route names, on each listener's port.
    private func origins(_ configuration: GatewayConfiguration) -> Set<String> {
        var origins: Set<String> = []
        for listener in configuration.listeners where listener.redirectToHTTPSPort == nil {
            let port = listener.portSeen(boundTo: listener.address.port ?? 0)
            let scheme = listener.tls == nil ? "http" : "https"
            let isDefault = port == (listener.tls == nil ? 80 : 443)
            for host in configuration.routes.compactMap(\.host) where !host.hasPrefix("*.") {
                origins.insert("\(scheme)://\(host)\(isDefault ? "" : ":\(port)")")
                // A trusted peer may have taken the request by TLS, on the usual port.
                guard !configuration.trustedProxies.isEmpty else { continue }
                origins.insert("https://\(host)")
                if let port = listener.publicPort, port != 443 { origins.insert("https://\(host):\(port)") }
            }
        }
        return origins
    }

    // MARK: Buffering

    /// Opens the folder of bodies' files, where a route may need it.
    private func buffering(
        _ configuration: GatewayConfiguration
    ) throws(SnapshotError) -> (requests: BodyBuffering?, responses: BodyBuffering?) {
        let settings = configuration.buffering
        let buffersRequests = configuration.routes.contains(where: \.bufferRequest)
        let buffersResponses = configuration.routes.contains(where: \.bufferResponse)
        guard buffersRequests || buffersResponses else { return (nil, nil) }
        let folder = settings.fileBytesMax > 0 ? try bodyFolder(settings) : nil
        func buffering(memoryBytesMax: Int) -> BodyBuffering {
            BodyBuffering(
                memoryBytesMax: memoryBytesMax, fileBytesMax: settings.fileBytesMax,
                allFilesBytesMax: settings.allFilesBytesMax, folder: folder, files: process.bodyFiles)
        }
        return (
            buffersRequests ? buffering(memoryBytesMax: settings.requestMemoryBytesMax) : nil,
            buffersResponses ? buffering(memoryBytesMax: settings.responseMemoryBytesMax) : nil
        )
    }

    private func bodyFolder(_ settings: GatewayConfiguration.Buffering) throws(SnapshotError) -> BodyFolder {
        do throws(SystemError) {
            guard let path = settings.folder else { return try BodyFolder(ownBelow: process.temporaryFolder) }
            return try BodyFolder(path)
        } catch {
            throw SnapshotError(
                "buffering.folder: bodies cannot be kept in files: \(error); name a folder that this user may write to, "
                    + "or write file_bytes_max: 0 to buffer in memory alone")
        }
    }

    // MARK: Tokens

    private func authenticators(_ configuration: GatewayConfiguration) throws(SnapshotError) -> [TokenAuthenticator] {
        let prefixes = configuration.authentication.jwt.map(\.prefix)
        let certificatePrefixes = configuration.clientCertificateSources.map(\.prefix)
        var authenticators: [TokenAuthenticator] = []
        for (index, issuer) in configuration.authentication.jwt.enumerated() {
            var others: [String?] = prefixes
            others.remove(at: index)
            let (keys, remote) = try verificationKeys(issuer)
            do throws(TokenVerifierError) {
                let verifier = try TokenVerifier(
                    issuer: issuer.issuer, audiences: issuer.audiences,
                    algorithms: issuer.algorithms.map(SignatureAlgorithm.init), clockSkew: issuer.clockSkew, keys: keys)
                authenticators.append(
                    TokenAuthenticator(
                        issuer: issuer, verifier: verifier, remoteKeys: remote,
                        prefix: SourcePrefix(issuer.prefix, others: others + certificatePrefixes + [nil]),
                        roleScopes: configuration.roles))
            } catch {
                throw SnapshotError("\(issuer.location.path): \(error)")
            }
        }
        return authenticators
    }

    private func verificationKeys(
        _ issuer: GatewayConfiguration.TokenIssuer
    ) throws(SnapshotError) -> (VerificationKeys, RemoteKeySet?) {
        switch issuer.keys {
        case .identity: return (.publicKeys(process.identityKeys.published), nil)
        case .secret(let secret):
            do throws(KeyError) {
                return (.secret(try SymmetricKey(secret.reveal())), nil)
            } catch {
                throw SnapshotError("\(issuer.location.path).keys: \(error)")
            }
        case .file(let path):
            do {
                let bytes = try SystemFiles().read(path, bytesMax: JWKSet.bytesMax).bytes
                return (.publicKeys(try JWKSet(parsing: bytes)), nil)
            } catch {
                throw SnapshotError("\(issuer.location.path).keys: \(path): \(error)")
            }
        case .url(let url, let authorities):
            let remote = process.remoteKeys.keySet(
                for: url, authorities: authorities, refreshInterval: issuer.refreshInterval)
            return (remote.current.keys ?? .publicKeys(JWKSet([])), remote)
        }
    }

    /// The session's subjects are one more source beside the issuers.
    private func sessionPrefix(_ configuration: GatewayConfiguration) -> SourcePrefix {
        SourcePrefix(
            nil,
            others: configuration.authentication.jwt.map(\.prefix)
                + configuration.clientCertificateSources.map(\.prefix))
    }

    // MARK: Limits

    private func limits(_ configuration: GatewayConfiguration) -> [GatewaySnapshot.Limit] {
        // Nodes that share a Redis share its password; without one, keys can be guessed by whoever reads the Redis.
        let secret = configuration.redis?.password?.reveal() ?? "auth-gateway rate limits"
        let sharedSeed = RateLimitSeed(sharedSecret: Array(secret.utf8).span)
        return configuration.limits.compactMap { limit in
            guard let rule = RateLimitRule(count: limit.count, period: limit.period, burst: limit.burst) else {
                return nil
            }
            let kind: RateLimitKey.Kind =
                switch limit.key {
                case .address: .address
                case .subject: .subject
                case .route: .route
                }
            return GatewaySnapshot.Limit(
                name: limit.name, rule: rule,
                policy: RateLimitPolicy(name: limit.name, count: limit.count, window: limit.period),
                keyspace: RateLimitKeyspace(rule: limit.name, kind: kind, seed: process.limitSeed),
                sharedKeyspace: RateLimitKeyspace(rule: limit.name, kind: kind, seed: sharedSeed),
                key: limit.key, store: limit.store, onStoreError: limit.onStoreError)
        }
    }

    // MARK: Names

    /// What the endpoints' names stand for now; blocks.
    static func resolve(_ upstreams: [GatewayConfiguration.Upstream]) -> [[UpstreamPool.EndpointAddresses]] {
        upstreams.map { upstream in
            upstream.endpoints.map { endpoint in
                switch endpoint {
                case .tcp(let host, let port):
                    UpstreamPool.EndpointAddresses(
                        name: endpoint.text, addresses: NetworkAddress.resolve(host: host, port: port))
                case .unix(let path):
                    UpstreamPool.EndpointAddresses(
                        name: endpoint.text, addresses: NetworkAddress(unixPath: path).map { [$0] } ?? [])
                }
            }
        }
    }

    static func resolve(_ redis: GatewayConfiguration.RedisStore?) -> [NetworkAddress] {
        redis.map { NetworkAddress.resolve(host: $0.host, port: $0.port) } ?? []
    }
}

/// A configuration that reads well and cannot be put to use.
struct SnapshotError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

extension ConfigurationProblem {
    init(_ problem: RouteProblem, file: String) {
        self.init(
            severity: problem.severity == .error ? .error : .warning, file: file, location: problem.location,
            message: problem.message,
            cure: problem.cure)
    }
}

extension SignatureAlgorithm {
    init(_ algorithm: GatewayConfiguration.SignatureAlgorithm) {
        switch algorithm {
        case .ES256: self = .es256
        case .RS256: self = .rs256
        case .EdDSA: self = .edDSA
        case .HS256: self = .hs256
        }
    }
}

extension GatewayConfiguration.Listener {
    /// What a body has to bring within `body_timeout`.
    var bodyProgressBytes: Int {
        // A timeout has an hour at most, a rate a megabyte.
        let milliseconds = Int(bodyTimeout.clampedNanoseconds / 1_000_000)
        return max(ListenerSettings.bodyProgressBytesMin, bodyRateMin * milliseconds / 1000)
    }

    /// The port that clients see; for a Unix socket without `public_port` the usual one of its scheme.
    func portSeen(boundTo port: UInt16) -> UInt16 {
        if let publicPort { return publicPort }
        guard case .unix = address else { return port }
        return tls == nil ? 80 : 443
    }
}

extension TLSSettings {
    init(_ tls: GatewayConfiguration.TLS) {
        self.init(
            certificates: tls.certificates.map {
                CertificateFiles(certificate: $0.certificate, key: $0.key, ocsp: $0.ocsp)
            },
            protocols: tls.protocols.map { name in
                switch name {
                case .http2: .http2
                case .http1: .http1
                }
            },
            rules: TLSRules(tls.rules), hosts: tls.hosts.map { TLSHosts(names: $0.names, rules: TLSRules($0.rules)) })
    }
}

extension TLSRules {
    init(_ rules: GatewayConfiguration.TLS.Rules) {
        let profile: TLSProfile =
            switch rules.profile {
            case .intermediate: .intermediate
            case .modern: .modern
            }
        self.init(
            profile: profile,
            clientCertificates: rules.clientCertificates.map { files in
                ClientCertificateFiles(
                    isRequired: files.mode == .require, authorities: files.authorities,
                    revocations: files.revocations, depth: files.depth)
            })
    }
}

extension GatewayConfiguration.SocketAddress {
    /// `nil` for a path, and where the kernel chooses.
    var port: UInt16? {
        guard case .tcp(_, let port) = self, port != 0 else { return nil }
        return port
    }

    /// As in the file: `127.0.0.1:80`, `[::1]:80`, `unix:/path`.
    var text: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }
}

extension Duration {
    /// For timers: whole nanoseconds, at most a year, so that sums with a clock do not overflow.
    var nanosecondsForTimers: UInt64 { min(clampedNanoseconds, 31_536_000_000_000_000) }
}
