internal import IdentityModel

/// Checks of client certificates against routes, roles and other listeners.
extension ConfigurationReader {
    func checkClientCertificates(_ configuration: GatewayConfiguration) {
        checkCertificateSources(configuration)
        // A route that could not be read may be the one.
        guard parts.unreadHosts.isEmpty, parts.routes.allSatisfy(\.isSound), isSound("listeners") else { return }
        checkHostsAreRouted(configuration)
        checkOtherListeners(configuration)
    }

    /// Two sources of names may both know an `admin`; the application must not take one for the other.
    private func checkCertificateSources(_ configuration: GatewayConfiguration) {
        var reported: Set<String> = []
        for route in configuration.routes where route.credentials.contains(.certificate) {
            let sources = configuration.clientCertificateSources(of: route)
            guard !sources.isEmpty else {
                // Some other listener may be the one that could not be read.
                guard isSound("listeners"), isSound(route.location.path) else { continue }
                error(
                    route.location, "no listener asks for client certificates for the host of this route",
                    cure: "add client_certificates for it, or remove certificate")
                continue
            }
            let allowed = route.credentials.count == 1 ? 1 : 0
            for source in sources.filter({ $0.prefix == nil }).dropFirst(allowed)
            where reported.insert(source.location.path).inserted {
                error(
                    source.location,
                    "routes such as \(route.name.quoted) take users from several sources, and nothing tells those of "
                        + "\(source.sourceName.quoted) from others",
                    cure: "give client_certificates a 'prefix', or the routes 'credentials' of one kind")
            }
        }
    }

    /// A host with a slip in its name would be served by the listener's own rules.
    private func checkHostsAreRouted(_ configuration: GatewayConfiguration) {
        let routed = configuration.routes.map(\.host)
        guard !routed.contains(nil) else { return }
        let patterns = routed.compactMap { $0 }
        for entry in configuration.listeners.compactMap(\.tls).flatMap(\.hosts) {
            for name in entry.names where !patterns.contains(where: { $0.meets(name) }) {
                let near = NearestName.nearest(to: name, among: patterns).map { "did you mean '\($0)'? " } ?? ""
                warning(
                    entry.location, "no route is for the host \(name.quoted)",
                    cure: "\(near)remove it, or add a route")
            }
        }
    }

    /// What needs a certificate on one listener can be had without on another.
    private func checkOtherListeners(_ configuration: GatewayConfiguration) {
        let serving = configuration.listeners.filter { $0.redirectToHTTPSPort == nil }
        for listener in serving {
            for entry in listener.tls?.hosts ?? [] where entry.rules.clientCertificates?.mode == .require {
                for other in serving where other.address != listener.address {
                    guard let name = entry.names.first(where: { other.tls?.requiresCertificate(of: $0) != true }) else {
                        continue
                    }
                    warning(
                        entry.location,
                        "the listener \(SocketAddresses.show(other.address)) asks nobody for a certificate for "
                            + name.quoted,
                        cure: "give it the same rules, or its routes credentials: [certificate]")
                }
            }
        }
    }
}

extension GatewayConfiguration {
    /// Sources of subjects by client certificates; those that say the same stand here once.
    public var clientCertificateSources: [TLS.ClientCertificates] {
        distinct(listeners.compactMap(\.tls).flatMap { tls in ([tls.rules] + tls.hosts.map(\.rules)) })
    }

    /// Those that a request for a route may come with.
    func clientCertificateSources(of route: Route) -> [TLS.ClientCertificates] {
        distinct(
            listeners.compactMap(\.tls).flatMap { tls in
                guard let host = route.host, !host.hasPrefix("*.") else { return [tls.rules] + tls.hosts.map(\.rules) }
                return [tls.rules(for: host)]
            })
    }

    private func distinct(_ rules: [TLS.Rules]) -> [TLS.ClientCertificates] {
        var found: [TLS.ClientCertificates] = []
        for source in rules.compactMap(\.clientCertificates) where !found.contains(where: { $0.isSameSource(source) }) {
            found.append(source)
        }
        return found
    }
}

extension GatewayConfiguration.TLS {
    /// What holds for a host: an exact name comes before the longest `*.`, that before the listener's own.
    public func rules(for host: String) -> Rules {
        if let exact = hosts.first(where: { $0.names.contains(host) }) { return exact.rules }
        let wildcards = hosts.flatMap { entry in entry.names.map { ($0, entry.rules) } }
        let covering = wildcards.filter { $0.0.hasPrefix("*.") && $0.0.meets(host) }
        return covering.max { $0.0.utf8.count < $1.0.utf8.count }?.1 ?? rules
    }

    /// Whether some client may be asked for a certificate.
    var asksForCertificates: Bool { ([rules] + hosts.map(\.rules)).contains { $0.clientCertificates != nil } }

    fileprivate func requiresCertificate(of name: String) -> Bool {
        rules(for: name).clientCertificates?.mode == .require
    }
}

extension GatewayConfiguration.TLS.ClientCertificates {
    /// As messages call it.
    var sourceName: String { issuer ?? authorities }

    /// Whether the subjects are the same, under the same names.
    public func isSameSource(_ other: Self) -> Bool {
        prefix == other.prefix && issuer == other.issuer && (issuer != nil || authorities == other.authorities)
    }
}

extension String {
    /// Whether a host may be under both patterns.
    fileprivate func meets(_ other: String) -> Bool {
        if self == other { return true }
        let own = hasPrefix("*.") ? String(dropFirst()) : nil
        let others = other.hasPrefix("*.") ? String(other.dropFirst()) : nil
        if let own, other.hasSuffix(own) { return true }
        if let others, hasSuffix(others) { return true }
        return false
    }
}
