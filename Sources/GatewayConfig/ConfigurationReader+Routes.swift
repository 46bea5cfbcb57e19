internal import IdentityModel

/// What routes may name, as far as the file defines it.
struct DefinedNames {
    /// `nil` where they could not be read, so that any name may be one.
    var upstreams: [String]?
    /// With what each counts, where that could be read; `nil` as above.
    var limits: [String: GatewayConfiguration.Limit.Key?]?
    /// Credentials for routes that name none.
    var credentials: [CredentialKind]
    var hasIssuers: Bool
    /// Whether a listener asks for client certificates, or may.
    var hasClientCertificates: Bool
}

extension ConfigurationReader {
    func route(
        _ section: Section, names: DefinedNames, securityHeaders outer: GatewayConfiguration.SecurityHeaders
    ) -> GatewayConfiguration.Route? {
        typealias Keys = Settings.Route
        let host = optional(Keys.host, in: section)
        let path = optional(Keys.path, in: section)
        let name = optional(Keys.name, in: section, otherwise: path.map { (host ?? "") + $0 })
        let target = self.target(in: section, names: names)
        let access = self.access(in: section, names: names)
        let credentials = self.credentials(in: section, access: access, names: names)
        let limits = self.limits(Keys.limit, in: section, names: names, access: access)
        let headers = value(Keys.headers, in: section)
        let forwardCredential = value(Keys.forwardCredential, in: section)
        let preflight = optional(Keys.preflight, in: section)
        let allowEncoded = list(Keys.allowEncoded, in: section)
        let bodyBytesMax = optional(Keys.bodyBytesMax, in: section)
        let bufferRequest = value(Keys.bufferRequest, in: section)
        let bufferResponse = value(Keys.bufferResponse, in: section)
        let requestTimeout = optional(Keys.requestTimeout, in: section)
        let trailers = self.section("trailers", in: section)
        let requestTrailers = list(Keys.requestTrailers, in: trailers)
        let responseTrailers = list(Keys.responseTrailers, in: trailers)
        let securityHeaders = self.securityHeaders(.route, in: section, over: outer)
        let isHostRead = host != nil || (section.pair(Keys.host.key) == nil && !isUnread(Keys.host.key, in: section))
        guard let path, isHostRead else {
            parts.unreadHosts.append(isHostRead ? host : nil)
            return nil
        }
        let isWhole = name != nil && target != nil && access != nil && credentials != nil && isSound(section.path)
        let route = GatewayConfiguration.Route(
            location: section.location, name: name ?? path, host: host, path: path,
            target: target ?? .upstream(""), access: access ?? .rules([]), credentials: credentials ?? [],
            limits: limits, headers: headers, forwardCredential: forwardCredential, preflightPass: preflight != nil,
            allowEncoded: Set(allowEncoded ?? []), bodyBytesMax: bodyBytesMax, bufferRequest: bufferRequest,
            bufferResponse: bufferResponse, requestTimeout: requestTimeout,
            requestTrailers: requestTrailers ?? [], responseTrailers: responseTrailers ?? [],
            securityHeaders: securityHeaders)
        parts.routes.append(.init(route: route, isSound: isWhole))
        return isWhole ? route : nil
    }

    private func target(in section: Section, names: DefinedNames) -> GatewayConfiguration.Route.Target? {
        guard let name = optional(Settings.Route.upstream, in: section) else { return nil }
        if name == "identity" { return .identity }
        guard let known = names.upstreams else { return nil }
        guard known.contains(name) else {
            error(
                section.location(of: Settings.Route.upstream.key), "no upstream is called \(name.quoted)",
                cure:
                    "define it under 'upstreams', or use one of: \((known.sorted() + ["identity"]).joined(separator: ", "))"
            )
            return nil
        }
        return .upstream(name)
    }

    /// A route says exactly one of `public: true`, `optional: true`, `require` and `rules`; else it does not load.
    private func access(in section: Section, names: DefinedNames) -> GatewayConfiguration.Route.Access? {
        let isPublic = value(Settings.Route.isPublic, in: section)
        let isOptional = value(Settings.Route.isOptional, in: section)
        // A word that is misspelt has been reported already, and what it would have said is unknown.
        let isSaidWrongly =
            section.isRefused || !section.misspelt.isDisjoint(with: ["public", "optional", "require", "rules"])
            || ["public", "optional"].contains { !isSound(section.path.key($0)) }
        let require = section.pair("require").map { ruleOfRoute($0, in: section) }
        let hasRules = section.pair("rules") != nil
        let ruleSections = sections("rules", in: section)
        let rules = ruleSections.map { rule($0, names: names) }
        let given = [isPublic, isOptional, require != nil, hasRules].filter { $0 }.count
        guard given == 1 else {
            guard given > 1 || !isSaidWrongly else { return nil }
            error(
                section.location,
                given == 0 ? "the route does not say who may use it" : "the route says in two ways who may use it",
                cure: "write one of: public: true, optional: true, require: {…}, rules: […]")
            return nil
        }
        if isPublic { return .open }
        if isOptional { return .optional }
        if let require { return require.map { .rules([$0]) } }
        let whole = rules.compactMap { $0 }
        guard !whole.isEmpty, whole.count == rules.count else {
            if ruleSections.isEmpty, !isUnread("rules", in: section) {
                error(
                    section.location(of: "rules"), "there is no rule",
                    cure: "add one, such as { require: { authenticated: true } }")
            }
            return nil
        }
        warnOfUnreachable(whole)
        return .rules(whole)
    }

    private func ruleOfRoute(_ pair: YAMLPair, in section: Section) -> GatewayConfiguration.Rule? {
        let path = section.path.key("require")
        guard let requirement = self.requirement(pair.node, at: path) else { return nil }
        record(path, RequirementText.flow(requirement), .file(file, line: pair.node.line, variables: []))
        return .init(
            location: SourceLocation(path: path.description, line: pair.node.line, column: pair.node.column),
            methods: nil, require: requirement, limits: [])
    }

    private func rule(_ section: Section, names: DefinedNames) -> GatewayConfiguration.Rule? {
        let methods = list(Settings.Route.methods, in: section)
        let limits = self.limits(Settings.Route.ruleLimit, in: section, names: names, access: nil)
        guard let pair = section.pair("require") else {
            guard !section.isRefused, !section.misspelt.contains("require") else { return nil }
            error(
                section.location(of: "require"), "the rule does not say what it requires",
                cure: "write require: { scopes: […] }, or { authenticated: true } for every subject")
            return nil
        }
        let path = section.path.key("require")
        let requirement = self.requirement(pair.node, at: path)
        if let requirement {
            record(path, RequirementText.flow(requirement), .file(file, line: pair.node.line, variables: []))
        }
        let isMethodsRead = section.pair(Settings.Route.methods.key) == nil || methods != nil
        guard let requirement, isMethodsRead else { return nil }
        return .init(location: section.location, methods: methods, require: requirement, limits: limits)
    }

    /// A rule after those that match all its methods never decides, which is seldom meant.
    private func warnOfUnreachable(_ rules: [GatewayConfiguration.Rule]) {
        var covered: Set<String>? = []
        for rule in rules {
            let isUnreachable = rule.methods.map { methods in methods.allSatisfy { covered?.contains($0) ?? true } }
            if isUnreachable ?? (covered == nil) {
                warning(
                    rule.location, "the rule is never reached, for rules before it match all its methods",
                    cure: "remove it, or put it first")
            }
            guard let methods = rule.methods else {
                covered = nil
                continue
            }
            covered?.formUnion(methods.contains("GET") ? methods + ["HEAD"] : methods)
        }
    }

    private func limits(
        _ setting: Setting<String>, in section: Section, names: DefinedNames,
        access: GatewayConfiguration.Route.Access?
    ) -> [String] {
        let limits = list(setting, in: section) ?? []
        let location = section.location(of: setting.key)
        for name in limits {
            guard let defined = names.limits else { continue }
            guard let key = defined[name] else {
                let known = defined.keys.sorted().joined(separator: ", ")
                error(
                    location, "no limit is called \(name.quoted)",
                    cure: "define it under 'limits'" + (known.isEmpty ? "" : ", or use one of: \(known)"))
                continue
            }
            guard key == .subject else { continue }
            if access == .open {
                error(
                    location, "the limit \(name.quoted) counts subjects, and a public route knows none",
                    cure: "use a limit with key: address or key: route")
            } else if access == .optional {
                warning(
                    location, "the limit \(name.quoted) does not count requests without a subject",
                    cure: "add a limit with key: address")
            }
        }
        if Set(limits).count < limits.count { error(location, "a limit is named twice", cure: "name each limit once") }
        return limits
    }

    private func credentials(
        in section: Section, access: GatewayConfiguration.Route.Access?, names: DefinedNames
    ) -> [CredentialKind]? {
        let setting = Settings.Route.credentials
        let given = list(setting, in: section)
        guard let access else { return given }
        let location = section.location(of: setting.key)
        if access == .open {
            guard section.pair(setting.key) == nil else {
                error(
                    location, "a public route reads no credentials",
                    cure: "remove 'credentials', or write optional: true")
                return nil
            }
            return []
        }
        guard let given else {
            guard section.pair(setting.key) == nil else { return nil }
            guard !names.credentials.isEmpty else {
                error(
                    section.location, "no credential could open this route",
                    cure: "configure authentication.jwt, or add 'identity:' for sign-in")
                return nil
            }
            record(section.path.key(setting.key), YAMLText.list(names.credentials.map(\.rawValue)), .byDefault)
            return names.credentials
        }
        guard !given.contains(.jwt) || names.hasIssuers else {
            error(
                location, "no issuer of tokens is configured", cure: "add one under authentication.jwt, or remove jwt")
            return nil
        }
        guard !given.contains(.certificate) || names.hasClientCertificates else {
            error(
                location, "no listener asks for client certificates",
                cure: "add client_certificates to its 'tls', or remove certificate")
            return nil
        }
        return CredentialKind.allCases.filter(given.contains)
    }

    func test(_ section: Section, roles: [Role: Set<Scope>]) -> GatewayConfiguration.RouteTest? {
        typealias Keys = Settings.Route
        let request = optional(Keys.when, in: section)
        let expect = optional(Keys.expect, in: section)
        var heldScopes: Set<Scope>?
        var heldRoles: Set<Role> = []
        if let pair = section.pair("as") {
            let path = section.path.key("as")
            if case .scalar = pair.node.value {
                guard word("nobody", of: pair.node, at: path, orKeys: "scopes and roles") else { return nil }
            } else {
                let subject = self.section(pair.node, at: path)
                heldRoles = Set(list(Keys.asRoles, in: subject, mayBeEmpty: true) ?? [])
                let scopes = Set(list(Keys.asScopes, in: subject, mayBeEmpty: true) ?? [])
                heldScopes = heldRoles.reduce(scopes) { $0.union(roles[$1] ?? []) }
                if subject.pairs.isEmpty { record(path, "{}", .file(file, line: pair.node.line, variables: [])) }
            }
        }
        guard let request, let expect else { return nil }
        return .init(
            location: section.location, method: request.method, url: request.url, scopes: heldScopes, roles: heldRoles,
            expect: expect)
    }
}
