internal import IdentityModel

extension ConfigurationReader {
    func session(in authentication: Section) -> GatewayConfiguration.SessionCookie {
        typealias Keys = Settings.Session
        let section = self.section("session", in: authentication)
        let cookie = GatewayConfiguration.SessionCookie(
            location: section.location, cookieName: optional(Keys.cookieName, in: section),
            domain: optional(Keys.domain, in: section), isSecure: optional(Keys.isSecure, in: section),
            loginURL: optional(Keys.loginURL, in: section),
            idleTimeout: value(Keys.idleTimeout, in: section), lifetime: value(Keys.lifetime, in: section),
            cacheEntriesMax: value(Keys.cacheEntriesMax, in: section), cacheTTL: value(Keys.cacheTTL, in: section))
        if cookie.cookieName?.lowercased().hasPrefix("__host-") == true, cookie.domain != nil {
            error(
                section.location(of: Keys.cookieName.key), "a cookie whose name begins with __Host- has no domain",
                cure: "remove 'domain', or choose another name")
        }
        return cookie
    }

    /// The issuers of the file; where it has none, the one that the environment describes.
    func issuers(
        in authentication: Section, identity: GatewayConfiguration.Identity, upstreams: [String]
    ) -> [GatewayConfiguration.TokenIssuer] {
        var members = sections("jwt", in: authentication)
        if authentication.pair("jwt") == nil {
            let path = authentication.path.key("jwt").index(0)
            let virtual = Section(
                path: path, pairs: [], line: authentication.line, column: authentication.column, isPresent: false)
            if isSet(Settings.Token.jwksURL.alias) { members = [virtual] } else { warnOfIdleAliases() }
        }
        return members.compactMap { issuer($0, identity: identity, upstreams: upstreams) }
    }

    private func isSet(_ name: String?) -> Bool { name.map { environment[$0]?.isEmpty == false } ?? false }

    private func warnOfIdleAliases() {
        for case let name? in [Settings.Token.issuer.alias, Settings.Token.audience.alias] where isSet(name) {
            environmentProblem(
                .warning, name, "the variable does nothing without the keys of that issuer",
                cure: "set IAM_JWKS_URL too, or write authentication.jwt in the file")
        }
    }

    private func issuer(
        _ section: Section, identity: GatewayConfiguration.Identity, upstreams: [String]
    ) -> GatewayConfiguration.TokenIssuer? {
        typealias Keys = Settings.Token
        let keys = self.keys(in: section)
        var isOwn = false
        if case .identity? = keys { isOwn = true }
        let issuer = optional(Keys.issuer, in: section, otherwise: isOwn ? identity.issuer : nil)
        let audiences = list(Keys.audience, in: section) ?? (isOwn ? [identity.tokenAudience] : nil)
        let algorithms = self.algorithms(in: section, keys: keys)
        let clockSkew = value(Keys.clockSkew, in: section)
        let refreshInterval = value(Keys.refreshInterval, in: section)
        let usernameClaim = optional(Keys.usernameClaim, in: section, otherwise: isOwn ? "preferred_username" : "sub")
        let rolesClaim = value(Keys.rolesClaim, in: section)
        let groupsClaim = value(Keys.groupsClaim, in: section)
        let prefix = optional(Keys.prefix, in: section)
        if issuer == nil, section.pair(Keys.issuer.key) == nil, keys != nil {
            missing(Keys.issuer, in: section, also: ", or set JWT_ISSUER")
        }
        if audiences == nil, section.pair(Keys.audience.key) == nil, keys != nil {
            missing(Keys.audience, in: section, also: ", or set JWT_AUDIENCE")
        }
        if isOwn, let issuer, issuer != identity.issuer, isSound("identity.issuer") {
            error(
                section.location(of: Keys.issuer.key),
                "the gateway's own tokens are issued by \(identity.issuer.quoted), not by \(issuer.quoted)",
                cure: "remove the key, or set identity.issuer to the same")
        }
        if isOwn { checkAudiences(audiences ?? [], at: section.location(of: Keys.audience.key), upstreams: upstreams) }
        if case .file(let path)? = keys, let file = parts.filesRead.last(where: { $0.path == path }) {
            parts.keySets.append(.init(file: file, algorithms: algorithms ?? []))
        }
        guard let keys, let issuer, let audiences, let algorithms, let usernameClaim else { return nil }
        return .init(
            location: section.location, issuer: issuer, audiences: audiences, keys: keys, algorithms: algorithms,
            clockSkew: clockSkew, refreshInterval: refreshInterval, usernameClaim: usernameClaim,
            rolesClaim: rolesClaim, groupsClaim: groupsClaim, prefix: prefix)
    }

    /// An application gets its `X-Auth-Assertion` with its upstream's name as audience: a token of our own key, which
    /// must open nothing here.
    private func checkAudiences(_ audiences: [String], at location: SourceLocation, upstreams: [String]) {
        for audience in audiences where upstreams.contains(audience) {
            error(
                location,
                "an upstream is called \(audience.quoted) too, so that its application could use the X-Auth-Assertion of "
                    + "whoever calls it as a token of that user",
                cure: "choose another audience (identity.token_audience where none is written), or rename the upstream")
        }
    }

    private func keys(in section: Section) -> GatewayConfiguration.TokenIssuer.Keys? {
        typealias Keys = Settings.Token
        let path = section.path.key("keys")
        let allowed = "jwks_file, jwks_url, secret or secret_file"
        if let node = section.pair("keys")?.node, case .scalar = node.value {
            return word("identity", of: node, at: path, orKeys: allowed) ? .identity : nil
        }
        let source = self.section("keys", in: section)
        let file = optional(Keys.jwksFile, in: source)
        // Where the file says where keys come from, the environment's URL does not add a second place.
        let asksURL = source.pair(Keys.jwksURL.key) != nil || !section.isPresent
        let url = asksURL ? optional(Keys.jwksURL, in: source) : nil
        let secret = self.secret(Keys.secret, in: source)
        let authorities = self.authorities(in: source, url: url)
        let sources = source.pairs.filter { $0.key != Keys.authorities.key }
        let given = sources.isEmpty ? (url == nil ? 0 : 1) : sources.count
        guard given == 1 else {
            guard given > 1 || (!isUnread("keys", in: section) && isSound(path)) else { return nil }
            error(
                section.location(of: "keys"),
                given == 0 ? "no source of keys is given" : "several sources of keys are given",
                cure: "write 'keys: identity', or a mapping with one of \(allowed)")
            return nil
        }
        if let file {
            guard contents(file, at: source.location(of: Keys.jwksFile.key), bytesMax: 1 << 20) != nil else {
                return nil
            }
            return .file(resolved(file))
        }
        if let url {
            warnOfPlainURL(url, at: source.location(of: Keys.jwksURL.key))
            return .url(url, authorities: authorities)
        }
        if let secret {
            let key = source.pairs.first?.key ?? Keys.secret.key
            parts.secrets.append(.init(secret: secret, location: source.location(of: key)))
        }
        return secret.map { .secret($0) }
    }

    /// The file of the authorities that a JWKS URL's certificate may come from.
    private func authorities(in source: Section, url: String?) -> String? {
        let setting = Settings.Token.authorities
        guard let path = optional(setting, in: source) else { return nil }
        let location = source.location(of: setting.key)
        guard source.pair(Settings.Token.jwksURL.key) != nil else {
            guard !source.misspelt.contains(Settings.Token.jwksURL.key) else { return nil }
            error(
                location, "authorities vouch for a JWKS URL, and none is given", cure: "write jwks_url, or remove 'ca'")
            return nil
        }
        if let url, WebURL(url)?.scheme == "http" {
            error(location, "nobody vouches for an http URL", cure: "write an https URL as jwks_url, or remove 'ca'")
            return nil
        }
        guard let file = checkedCertificate(path, at: location) else { return nil }
        parts.authorities.append(file)
        return file.path
    }

    private func warnOfPlainURL(_ text: String, at location: SourceLocation) {
        guard let url = WebURL(text), url.scheme == "http", !HostName.isLoopback(url.host) else { return }
        warning(
            location, "keys come over plain HTTP, and whoever is on the way can choose them",
            cure: "use https, or make sure that the network between is yours")
    }

    private func algorithms(
        in section: Section, keys: GatewayConfiguration.TokenIssuer.Keys?
    ) -> [GatewayConfiguration.SignatureAlgorithm]? {
        let setting = Settings.Token.algorithms
        let given = list(setting, in: section)
        guard let keys else { return given }
        let (allowed, usual): ([GatewayConfiguration.SignatureAlgorithm], [GatewayConfiguration.SignatureAlgorithm]) =
            switch keys {
            case .identity: ([.ES256], [.ES256])
            case .file, .url: ([.ES256, .RS256, .EdDSA], [.ES256, .RS256])
            case .secret: ([.HS256], [.HS256])
            }
        guard let given else {
            guard section.pair(setting.key) == nil else { return nil }
            record(section.path.key(setting.key), YAMLText.list(usual.map(\.rawValue)), .byDefault)
            return usual
        }
        if let wrong = given.first(where: { !allowed.contains($0) }) {
            let words = allowed.map(\.rawValue).joined(separator: ", ", last: " or ")
            error(
                section.location(of: setting.key), "\(wrong.rawValue) does not go with these keys",
                cure: wrong == .HS256 ? "give 'keys' a secret of its own, or use \(words)" : "use \(words)")
            return nil
        }
        return given
    }
}
