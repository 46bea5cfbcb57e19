internal import IdentityModel

/// Checks that need more than one part of the configuration.
extension ConfigurationReader {
    func check(_ configuration: GatewayConfiguration, root: Section) {
        checkListeners(configuration)
        checkUnused(configuration)
        checkRouteNames(configuration)
        checkIssuers(configuration)
        checkSources(configuration)
        checkPrefixes(configuration)
        checkClientCertificates(configuration)
        checkCookie(configuration)
        checkRoleNames(configuration)
        for peers in configuration.trustedProxies where peers.isEverybody {
            warning(
                root.location(of: "trusted_proxies"), "everybody is trusted to say where requests come from",
                cure: "name the addresses of your proxies alone")
        }
        for listener in configuration.listeners where listener.proxyProtocol.contains(where: \.isEverybody) {
            warning(
                listener.location, "everybody is believed whose connection it is, by 'proxy_protocol'",
                cure: "name the addresses of your proxies alone")
        }
        checkUnixPeers(configuration)
        checkSecurityHeaders(configuration)
    }

    private func checkListeners(_ configuration: GatewayConfiguration) {
        var seen: Set<SocketAddress> = []
        if let admin = configuration.admin.address, !admin.isAnyPort { seen.insert(admin) }
        for listener in configuration.listeners where !listener.address.isAnyPort {
            guard !seen.insert(listener.address).inserted else { continue }
            error(
                listener.location, "the address \(SocketAddresses.show(listener.address)) is taken by another listener",
                cure: "give each listener, and 'admin', an address of its own")
        }
    }

    /// Whoever comes by a Unix socket has no address: sign-in, and limits by address, would count all of them as one.
    private func checkUnixPeers(_ configuration: GatewayConfiguration) {
        guard !configuration.trustedProxies.contains(.unix) else { return }
        for listener in configuration.listeners {
            guard case .unix = listener.address, listener.proxyProtocol.isEmpty else { continue }
            warning(
                listener.location, "nobody says who comes by this socket, so that limits by address count all as one",
                cure: "add unix to trusted_proxies, where the proxy before it sets X-Forwarded-For itself, or write "
                    + "proxy_protocol: unix, where it speaks that")
        }
    }

    private func checkSecurityHeaders(_ configuration: GatewayConfiguration) {
        guard configuration.trustedProxies.isEmpty, configuration.listeners.allSatisfy({ $0.tls == nil }) else {
            return
        }
        let all = [configuration.securityHeaders] + configuration.routes.map(\.securityHeaders)
        guard all.contains(where: { $0.hstsMaxAge != nil }) else { return }
        warning(
            .init(path: "security_headers.hsts", line: 0, column: 0),
            "no listener has TLS, and nobody is trusted to say that a proxy has, so 'hsts' is never sent",
            cure: "give a listener 'tls', or name the proxies that end it under 'trusted_proxies'")
    }

    private func checkUnused(_ configuration: GatewayConfiguration) {
        // A route with a mistake may be the one.
        guard parts.unreadHosts.isEmpty, parts.routes.allSatisfy(\.isSound) else { return }
        var limits: Set<String> = []
        var upstreams: Set<String> = []
        for route in configuration.routes {
            limits.formUnion(route.limits)
            if case .rules(let rules) = route.access { limits.formUnion(rules.flatMap(\.limits)) }
            if case .upstream(let name) = route.target { upstreams.insert(name) }
        }
        for upstream in configuration.upstreams where !upstreams.contains(upstream.name) {
            warning(upstream.location, "no route leads to this upstream", cure: "remove it, or add a route")
        }
        for limit in configuration.limits where !limits.contains(limit.name) {
            warning(limit.location, "nothing uses this limit", cure: "remove it, or name it in a route or rule")
        }
    }

    private func checkRouteNames(_ configuration: GatewayConfiguration) {
        var places: [String: SourceLocation] = [:]
        for route in configuration.routes {
            guard let first = places.updateValue(route.location, forKey: route.name) else { continue }
            error(
                route.location, "the route in line \(first.line) has the same name, \(route.name.quoted)",
                cure: "give each route a host and path, or a name, of its own")
        }
    }

    private func checkIssuers(_ configuration: GatewayConfiguration) {
        var seen: Set<String> = []
        for issuer in configuration.authentication.jwt where !seen.insert(issuer.issuer).inserted {
            error(
                issuer.location, "the issuer \(issuer.issuer.quoted) stands here a second time",
                cure: "keep one entry; 'audience' may be a list")
        }
        for issuer in configuration.authentication.jwt
        where issuer.issuer == configuration.identity.issuer && !issuer.isOwn {
            error(
                issuer.location, "the issuer \(issuer.issuer.quoted) is the gateway's own, and its keys are not",
                cure: "write keys: identity, or change identity.issuer")
        }
    }

    /// Two sources of names may both know an `admin`; the application must not take one for the other.
    private func checkSources(_ configuration: GatewayConfiguration) {
        let issuers = configuration.authentication.jwt.filter { isSound($0.location.path) }
        let tokenRoute = configuration.routes.first { $0.credentials.contains(.jwt) }
        let bothRoute = configuration.routes.first {
            $0.credentials.contains(.jwt) && $0.credentials.contains(.session)
        }
        guard let tokenRoute else { return }
        // Own tokens that carry the directory's user name and sessions are one source.
        let foreign = issuers.filter { !$0.namesDirectoryUsers }
        let ownIsSource = bothRoute != nil || issuers.contains(where: \.namesDirectoryUsers)
        let bare = foreign.filter { $0.prefix == nil }
        let allowed = ownIsSource ? 0 : 1
        for issuer in bare.dropFirst(allowed) {
            error(
                issuer.location,
                "routes such as \((ownIsSource ? bothRoute ?? tokenRoute : tokenRoute).name.quoted) take users from several sources, "
                    + "and nothing tells those of \(issuer.issuer.quoted) from others",
                cure: "give the issuer a 'prefix', or the routes 'credentials' of one kind")
        }
    }

    /// A name with a prefix must not be one of another source.
    private func checkPrefixes(_ configuration: GatewayConfiguration) {
        let issuers = configuration.authentication.jwt.filter { isSound($0.location.path) }
        var prefixed = issuers.compactMap { issuer in issuer.prefix.map { (issuer.issuer, $0, issuer.location) } }
        if configuration.routes.contains(where: { $0.credentials.contains(.certificate) }) {
            prefixed += configuration.clientCertificateSources.compactMap { source in
                source.prefix.map { (source.sourceName, $0, source.location) }
            }
        }
        for (index, (_, own, location)) in prefixed.enumerated() {
            for (other, prefix, _) in prefixed[..<index] where own.hasPrefix(prefix) || prefix.hasPrefix(own) {
                error(
                    location, "the prefix \(own.quoted) cannot be told from that of \(other.quoted)",
                    cure: "choose prefixes of which none begins with another")
            }
        }
    }

    private func checkCookie(_ configuration: GatewayConfiguration) {
        let session = configuration.authentication.session
        let serving = configuration.listeners.filter { $0.redirectToHTTPSPort == nil }
        let isPlain = session.isSecure.map { !$0 } ?? serving.contains { $0.tls == nil }
        if session.isSecure == nil, !configuration.trustedProxies.isEmpty, serving.allSatisfy({ $0.tls == nil }),
            configuration.routes.contains(where: { $0.credentials.contains(.session) })
        {
            warning(
                session.location, "no listener has TLS, so the session cookie goes over plain connections too",
                cure: "write secure: true where the trusted proxies end TLS, or secure: false where nobody does")
        }
        let name = session.cookieName?.lowercased() ?? ""
        if isPlain, name.hasPrefix("__host-") || name.hasPrefix("__secure-") {
            error(
                session.location,
                "browsers take a cookie called \(name.quoted) over TLS alone, and a listener has none",
                cure: "choose another cookie_name, or give every listener 'tls' or 'redirect_to_https'")
        }
        let hosts = configuration.routes.filter { $0.credentials.contains(.session) }.compactMap { route in
            route.host.map { (route, $0.hasPrefix("*.") ? String($0.dropFirst(2)) : $0) }
        }
        guard isSound("authentication.session") else { return }
        if let domain = session.domain {
            for (route, host) in hosts where !host.isWithin(domain) {
                warning(
                    route.location, "browsers do not send the cookie of \(domain.quoted) to \(host.quoted)",
                    cure: "use a domain that is a parent of every host, or credentials: [jwt] here")
            }
        }
        checkLogin(configuration, hosts: hosts.map(\.1), hasTLS: serving.contains { $0.tls != nil })
    }

    private func checkLogin(_ configuration: GatewayConfiguration, hosts: [String], hasTLS: Bool) {
        let session = configuration.authentication.session
        guard let url = session.loginURL.flatMap(WebURL.init) else { return }
        if url.scheme == "http", hasTLS {
            warning(
                session.location, "the sign-in page is reached without TLS", cure: "write an https URL as login_url")
        }
        let isShared = session.domain.map { url.host.isWithin($0) } ?? hosts.allSatisfy { $0 == url.host }
        if !isShared {
            warning(
                session.location, "a session begun on \(url.host.quoted) does not reach the other hosts",
                cure: "set 'domain' to a parent of all of them")
        }
    }

    /// Roles come from the file, from scopes, or from issuers; a name that none of them can give is a slip.
    private func checkRoleNames(_ configuration: GatewayConfiguration) {
        guard isSound("roles"), isSound("authentication.jwt"), !configuration.roles.isEmpty,
            configuration.authentication.jwt.allSatisfy(\.isOwn)
        else { return }
        let ofCertificates = configuration.clientCertificateSources.flatMap { $0.roles.map(\.name) }
        let known = Set(configuration.roles.keys.map(\.name)).union(derivedRoles).union(ofCertificates)
        for route in configuration.routes {
            guard case .rules(let rules) = route.access else { continue }
            for rule in rules {
                for role in rule.require.roles where !known.contains(role.name) {
                    let near = NearestName.nearest(to: role.name, among: known.sorted()).map {
                        "did you mean '\($0)'? "
                    }
                    warning(
                        rule.location, "no role is called \(role.name.quoted)",
                        cure:
                            "\(near ?? "")define it under 'roles', or use one of: \(known.sorted().joined(separator: ", "))"
                    )
                }
            }
        }
    }

    /// Roles that follow from scopes.
    private var derivedRoles: [String] { ["admin", "developer", "reviewer", "viewer", "service_account"] }
}

extension GatewayConfiguration.TokenIssuer {
    var isOwn: Bool {
        guard case .identity = keys else { return false }
        return true
    }

    /// Whether its users are those of sessions, under the same names.
    var namesDirectoryUsers: Bool { isOwn && prefix == nil && usernameClaim == "preferred_username" }
}

extension GatewayConfiguration.Peers {
    /// Every address there is.
    var isEverybody: Bool {
        guard case .network(let block) = self else { return false }
        return block.prefixLength == 0 || block.isAllIPv4
    }
}

extension GatewayConfiguration.AddressBlock {
    /// `0.0.0.0/0` in its mapped form.
    var isAllIPv4: Bool {
        prefixLength <= 96 && address.prefix(12).elementsEqual([UInt8](repeating: 0, count: 10) + [0xFF, 0xFF])
    }
}

extension SocketAddress {
    var isAnyPort: Bool {
        guard case .tcp(_, port: 0) = self else { return false }
        return true
    }
}

extension Requirement {
    /// Every role named in it.
    var roles: [Role] {
        switch self {
        case .role(let role): [role]
        case .allOf(let members), .anyOf(let members): members.flatMap(\.roles)
        case .authenticated, .scope: []
        }
    }
}

extension String {
    /// Whether a host is a domain or lies below it.
    func isWithin(_ domain: String) -> Bool { self == domain || hasSuffix("." + domain) }
}
