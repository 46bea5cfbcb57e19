internal import IdentityModel

extension ConfigurationReader {
    func redis(in root: Section) -> GatewayConfiguration.RedisStore? {
        typealias Keys = Settings.Store
        let section = self.section("redis", in: root)
        let url = optional(Keys.redisURL, in: section)
        if url == nil, section.isPresent, section.pair(Keys.redisURL.key) == nil { missing(Keys.redisURL, in: section) }
        guard section.isPresent || url != nil else { return nil }
        let password = secret(Keys.redisPassword, in: section)
        if password != nil, url?.password != nil {
            error(
                section.location(of: Keys.redisPassword.key), "the password is in the URL too", cure: "keep one of them"
            )
        }
        let timeout = value(Keys.redisTimeout, in: section)
        guard let url else { return nil }
        return .init(
            location: section.location, host: url.host, port: url.port, database: url.database, username: url.username,
            password: url.password ?? password, timeout: timeout)
    }

    func limit(_ pair: YAMLPair, at path: ConfigurationPath, hasRedis: Bool) -> GatewayConfiguration.Limit? {
        typealias Keys = Settings.Store
        let section = self.section(pair.node, at: path)
        let name = checkedName(pair, at: path)
        let rate = optional(Keys.rate, in: section)
        let burst = optional(Keys.burst, in: section, otherwise: rate?.count)
        let key = value(Keys.key, in: section)
        let store = optional(Keys.store, in: section, otherwise: hasRedis ? .redis : .memory)
        if store == .redis, !hasRedis {
            error(
                section.location(of: Keys.store.key), "the limit is kept in Redis, and none is configured",
                cure: "add 'redis: { url: redis://HOST:6379 }', set REDIS_URL, or write store: memory")
        }
        let onStoreError = value(Keys.onStoreError, in: section)
        guard let name, let rate, let burst, let store else { return nil }
        return .init(
            location: SourceLocation(path: path.description, line: pair.line, column: pair.column), name: name,
            count: rate.count, period: rate.unit.period, burst: burst, key: key, store: store,
            onStoreError: onStoreError)
    }

    func roles(in root: Section) -> [Role: Set<Scope>] {
        var roles: [Role: Set<Scope>] = [:]
        for (pair, path) in named("roles", in: root) {
            let scopes = list(Settings.Store.roleScopes.type, of: pair.node, at: path)
            guard let role = Role(pair.key) else {
                error(
                    SourceLocation(path: path.description, line: pair.line, column: pair.column),
                    "\(pair.key.quoted) is no role", cure: "write \(SettingType<Role>.role.allowed)")
                continue
            }
            guard let scopes else { continue }
            record(path, YAMLText.list(scopes.map(\.name)), .file(file, line: pair.node.line, variables: []))
            roles[role] = Set(scopes)
        }
        return roles
    }

    func identity(in root: Section) -> GatewayConfiguration.Identity {
        typealias Keys = Settings.Identity
        let section = self.section("identity", in: root)
        let database = resolved(value(Keys.database, in: section))
        parts.database = .init(path: database, location: place(of: Keys.database.key, in: section))
        return .init(
            location: section.location, databasePath: database,
            issuer: value(Keys.issuer, in: section), exposeSessionToken: value(Keys.exposeSessionToken, in: section),
            verifyWithoutSession: value(Keys.verifyWithoutSession, in: section),
            tokenLifetime: value(Keys.tokenLifetime, in: section), tokenAudience: value(Keys.tokenAudience, in: section)
        )
    }
}
