internal import IdentityModel

/// What came of reading a configuration.
public struct ConfigurationResult: Sendable {
    /// `nil` when a problem is an error.
    public let configuration: GatewayConfiguration?
    /// What could be read in spite of problems, for further checks; `nil` where the file is no YAML at all.
    public let parts: ConfigurationParts?
    /// Everything found in one run, errors and warnings, in the order of the file.
    public let problems: [ConfigurationProblem]
    /// What holds and where it came from, in the order of reading.
    let effective: [EffectiveSetting]

    /// Whether a problem is an error.
    public var hasErrors: Bool { problems.contains { $0.severity == .error } }
}

/// Reads `gateway.yaml`, the environment and the files they name, and checks all of it in one run. Binds nothing.
public enum ConfigurationLoader {
    /// Reads a file. `environment` is the process's own, passed in so that nothing here looks at it unasked.
    public static func load(path: String, environment: [String: String]) -> ConfigurationResult {
        let files = SystemFiles()
        do {
            let contents = try files.read(path, bytesMax: fileBytesMax)
            return load(bytes: contents.bytes, file: path, environment: environment, fileAccess: files)
        } catch {
            let problem = ConfigurationProblem(
                severity: .error, file: path, location: SourceLocation(path: "", line: 0, column: 0),
                message: "the file cannot be read: \(error.reason)", cure: "name another one with --config")
            return ConfigurationResult(configuration: nil, parts: nil, problems: [problem], effective: [])
        }
    }

    /// Reads text as if it stood in `file`, whose folder relative paths count from.
    public static func load(
        text: String, file: String = "gateway.yaml", environment: [String: String] = [:],
        fileAccess: any FileAccess = SystemFiles()
    ) -> ConfigurationResult {
        load(bytes: Array(text.utf8), file: file, environment: environment, fileAccess: fileAccess)
    }

    /// The same for bytes that need not be text.
    public static func load(
        bytes: [UInt8], file: String, environment: [String: String], fileAccess: any FileAccess
    ) -> ConfigurationResult {
        let reader = ConfigurationReader(file: file, environment: environment, files: fileAccess)
        let outcome = YAMLComposer.compose(bytes)
        for problem in outcome.problems {
            let location = SourceLocation(path: problem.path.description, line: problem.line, column: problem.column)
            reader.error(location, problem.message, cure: problem.cure)
        }
        var configuration: GatewayConfiguration?
        if let root = outcome.root {
            configuration = reader.configuration(root)
        } else if outcome.problems.isEmpty {
            reader.error(
                SourceLocation(path: "", line: 1, column: 1), "the file is empty", cure: "begin with 'listeners:'")
        }
        let problems = reader.problems.sorted { left, right in
            (left.location.line, left.location.column) < (right.location.line, right.location.column)
        }
        let hasErrors = problems.contains { $0.severity == .error }
        return ConfigurationResult(
            configuration: hasErrors ? nil : configuration, parts: configuration == nil ? nil : reader.parts,
            problems: problems, effective: reader.effective)
    }

    private static let fileBytesMax = 1 << 20
}

extension ConfigurationReader {
    /// The whole file; `nil` where a part that others need is missing.
    func configuration(_ node: YAMLNode) -> GatewayConfiguration? {
        let root = section(node, at: .root)
        let workers = optional(Settings.workers, in: root)
        let memoryBytesMax = optional(Settings.memoryMax, in: root)
        parts.filesRead.insert(.init(path: file, location: .init(path: "", line: 0, column: 0)), at: 0)
        let user = optional(Settings.user, in: root)
        parts.account = user.map { .init(names: $0, location: place(of: Settings.user.key, in: root)) }
        let trustedProxies = list(Settings.trustedProxies, in: root, mayBeEmpty: true) ?? []
        let drainDelay = value(Settings.drainDelay, in: root)
        let stopTimeout = value(Settings.stopTimeout, in: root)
        let log = self.log(in: root)
        let admin = self.admin(in: root)
        let tickets = self.tickets(in: root)
        let listenerSections = needed("listeners", in: root)
        let listeners = listenerSections.compactMap(listener)
        let upstreamPairs = named("upstreams", in: root)
        let upstreams = upstreamPairs.compactMap { upstream($0.pair, at: $0.path) }
        let buffering = self.buffering(in: root)
        let identity = self.identity(in: root)
        let authentication = section("authentication", in: root)
        let session = self.session(in: authentication)
        let tokenCacheEntriesMax = value(Settings.Token.cacheEntriesMax, in: authentication)
        let issuers = self.issuers(
            in: authentication, identity: identity, upstreams: upstreamPairs.map(\.pair.key))
        let roles = self.roles(in: root)
        let redis = self.redis(in: root)
        let hasRedis = redis != nil || isUnread("redis", in: root) || !isSound(root.path.key("redis"))
        let limitPairs = named("limits", in: root)
        let limits = limitPairs.compactMap { limit($0.pair, at: $0.path, hasRedis: hasRedis) }

        let securityHeaders = self.securityHeaders(.top, in: root, over: .init())
        let routeSections = needed("routes", in: root)
        // What could not be read may hold whatever a route asks for; it is reported once, where it stands.
        let isAuthenticationUnread =
            ["authentication", "identity"].contains { isUnread($0, in: root) }
            || ["session", "jwt"].contains { isUnread($0, in: authentication) }
        let hasSessions =
            isAuthenticationUnread || root.pair("identity") != nil || authentication.pair("session") != nil
            || routeSections.contains { $0.pair(Settings.Route.upstream.key)?.node.word == "identity" }
        let hasIssuers = isAuthenticationUnread || !issuers.isEmpty || authentication.pair("jwt") != nil
        let names = DefinedNames(
            upstreams: isUnread("upstreams", in: root) ? nil : upstreamPairs.map(\.pair.key),
            limits: isUnread("limits", in: root)
                ? nil
                : limitPairs.reduce(into: [:]) { keys, limit in
                    keys.updateValue(limits.first { $0.name == limit.pair.key }?.key, forKey: limit.pair.key)
                },
            credentials: (hasSessions ? [.session] : []) + (hasIssuers ? [.jwt] : []), hasIssuers: hasIssuers,
            hasClientCertificates: isUnread("listeners", in: root) || !isSound("listeners")
                || listeners.contains { $0.tls?.asksForCertificates == true })
        let routes = routeSections.compactMap { route($0, names: names, securityHeaders: securityHeaders) }
        let testSections = sections("tests", in: root)
        let tests = testSections.compactMap { test($0, roles: roles) }
        if routeSections.isEmpty { parts.unreadHosts.append(nil) }
        parts.upstreamNames = upstreamPairs.map(\.pair.key)
        parts.roles = roles
        let areRolesUnread = isUnread("roles", in: root)
        parts.tests = tests.filter { test in
            isSound(test.location.path)
                && test.roles.allSatisfy { isSound(root.path.key("roles").name($0.name)) && !areRolesUnread }
        }
        checkEnvironment()

        let configuration = GatewayConfiguration(
            workers: workers, memoryBytesMax: memoryBytesMax, user: user, trustedProxies: trustedProxies,
            drainDelay: drainDelay, stopTimeout: stopTimeout, log: log, admin: admin, tickets: tickets,
            listeners: listeners,
            upstreams: upstreams,
            buffering: buffering,
            authentication: .init(session: session, jwt: issuers, jwtCacheEntriesMax: tokenCacheEntriesMax),
            roles: roles, redis: redis, limits: limits, identity: identity,
            securityHeaders: securityHeaders, routes: routes, tests: tests)
        check(configuration, root: root)
        let written =
            listenerSections.count + upstreamPairs.count + limitPairs.count + routeSections.count + testSections.count
        let read = listeners.count + upstreams.count + limits.count + routes.count + tests.count
        // A rule that is dropped without a word would open what it closes.
        precondition(
            written == read || problems.contains { $0.severity == .error }, "a part was dropped without a problem")
        return configuration
    }

    /// A list without which nothing can be served.
    private func needed(_ key: String, in root: Section) -> [Section] {
        let members = sections(key, in: root)
        let isEmptyList = members.isEmpty && root.pair(key)?.node.kind == "a list"
        if isEmptyList || (root.pair(key) == nil && !isUnread(key, in: root)) {
            error(root.location(of: key), "the list is missing or empty", cure: "write \(key): and at least one member")
        }
        return members
    }

    /// A misspelt override would otherwise do nothing without a word.
    private func checkEnvironment() {
        let known = SettingCatalog.shared.environmentNames
        for name in environment.keys.sorted() where name.hasPrefix("GATEWAY_") {
            guard !known.contains(name), !variables.contains(name) else { continue }
            let near = NearestName.nearest(to: name, among: known.sorted()).map { "did you mean \($0)? " } ?? ""
            environmentProblem(
                .warning, name, "the variable overrides no setting",
                cure: "\(near)names are GATEWAY_ and the key path with __ between keys")
        }
    }
}
