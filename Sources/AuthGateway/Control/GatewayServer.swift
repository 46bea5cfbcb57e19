internal import EventLoop
public import GatewayConfig
internal import Glibc
internal import HTTPModel
internal import IdentityModel
internal import IdentityService
public import Logging
internal import Outbound
internal import Passwords
internal import ProxyCore
internal import RateLimit
internal import Storage
internal import Telemetry

/// How `auth-gateway run` was called.
public struct RunOptions: Sendable {
    /// Path of `gateway.yaml`.
    public var configurationPath: String
    /// Development: sample users, and root without `user:` is allowed.
    public var isDevelopment: Bool
    /// The process's environment.
    public var environment: [String: String]
    /// Shown by the metric `build_info`.
    public var version: String

    /// Memberwise.
    public init(configurationPath: String, isDevelopment: Bool, environment: [String: String], version: String) {
        self.configurationPath = configurationPath
        self.isDevelopment = isDevelopment
        self.environment = environment
        self.version = version
    }
}

/// A start that cannot go on: one line that says what and how to mend it, and the exit code.
public struct StartError: Error, CustomStringConvertible, Sendable {
    /// One or more lines for the operator.
    public let description: String
    /// 1: the configuration or the surroundings do not allow it.
    public let exitCode: Int32

    init(_ description: String, exitCode: Int32 = 1) {
        self.description = description
        self.exitCode = exitCode
    }

    init(cannotListen address: String, _ error: SystemError) {
        let cure =
            address.hasPrefix("unix:") ? StartError.socketFileCure(error.code) : StartError.portCure(error.code)
        self.init("cannot listen on \(address): \(error); \(cure)")
    }

    private static func socketFileCure(_ code: CInt) -> String {
        switch code {
        case EADDRINUSE: "another process listens there; `ss -lxp` shows which"
        case ENOENT, ENOTDIR:
            "its folder has to be there, and to belong to the gateway's user, as systemd's RuntimeDirectory= makes it"
        case EACCES, EPERM, EROFS: "the gateway's user has to be allowed to make files in that folder"
        case ENOTSOCK: "something stands there that is no socket: remove it, or choose another path"
        default: "`ss -lxp` shows who listens where"
        }
    }

    private static func portCure(_ code: CInt) -> String {
        switch code {
        case EADDRINUSE: "another program has the port; `ss -ltnp` shows which"
        case EACCES:
            "ports below 1024 need root (with 'user:' to give it up), or CAP_NET_BIND_SERVICE as in deploy/"
        case EADDRNOTAVAIL: "this machine has no such address; write 0.0.0.0, [::] or one of its own"
        default: "`ss -ltnp` shows who listens where"
        }
    }
}

/// The running gateway: opens everything in the order that privileges demand, then serves until it is told to stop.
public enum GatewayServer {
    /// Runs what was read of the options' file until SIGTERM or SIGINT; returns when the last exchange has ended or the
    /// stop timeout has passed.
    public static func run(
        _ result: ConfigurationResult, _ options: RunOptions, logger: Logger
    ) throws(StartError) {
        GatewayProcess.blockSignals()
        GatewayProcess.forbidDumps()
        let ((configuration, compiled), warnings) = try sound(result, options)
        log(warnings, logger)
        try GatewayProcess.checkUser(configuration, options)
        try checkAccount(result, options, logger)
        let metrics = MetricRegistry()
        let workerCount = configuration.workers ?? max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN)))
        // With the privileges of the start: keys and low ports.
        let (contexts, ticketKeys) = try tlsFiles(configuration)
        let sockets = ListeningSockets()
        let account = try GatewayProcess.accountToBecome(configuration.user)
        try sockets.open(configuration, workers: workerCount, as: account)
        let adminSocket = try AdminSocket.open(configuration.admin, as: account)
        if let account { try GatewayProcess.become(account) }
        let resources = try openResources(configuration, options, metrics, logger)
        let builder = SnapshotBuilder(process: resources)
        let snapshot: GatewaySnapshot
        let settings = builder.listenerSettings(configuration, contexts, sockets)
        do throws(SnapshotError) {
            snapshot = try builder.snapshot(
                configuration, compiled, listenerSettings: settings,
                endpoints: SnapshotBuilder.resolve(configuration.upstreams),
                redisAddresses: SnapshotBuilder.resolve(configuration.redis))
        } catch {
            throw StartError("\(options.configurationPath): \(error)")
        }
        let accessLog = try openAccessLog(configuration)
        do throws(SystemError) {
            let control = try ControlThread(
                options: options, builder: builder, snapshot: snapshot, sockets: sockets,
                adminSocket: adminSocket, workerCount: workerCount, ticketKeys: ticketKeys, accessLog: accessLog,
                logger: logger)
            try control.serve()
        } catch {
            throw StartError("\(error)")
        }
        accessLog?.close()
        resources.database.close()
    }

    /// Reads the file and checks it wholly; throws every error at once where there is one.
    static func load(
        _ options: RunOptions
    ) throws(StartError) -> (sound: ConfigurationCheck.Sound, warnings: [ConfigurationProblem]) {
        try sound(
            ConfigurationLoader.load(path: options.configurationPath, environment: options.environment), options)
    }

    private static func sound(
        _ result: ConfigurationResult, _ options: RunOptions
    ) throws(StartError) -> (sound: ConfigurationCheck.Sound, warnings: [ConfigurationProblem]) {
        let check = ConfigurationCheck(result, file: options.configurationPath)
        guard let sound = check.sound else {
            throw StartError(check.problems.filter { $0.severity == .error }.report)
        }
        return (sound, check.problems)
    }

    /// One event for each warning, of very many the first.
    static func log(_ warnings: [ConfigurationProblem], _ logger: Logger) {
        for warning in warnings.prefix(ConfigurationProblem.reportedMax) {
            logger.warning("config.warning", metadata: ["problem": "\(warning)"])
        }
    }

    /// Everything that `auth-gateway check` reports, in the order of the file: what reading it showed, its routes and
    /// their tests, the content of the files that it names, and what a start would run into. Opens no port and creates
    /// nothing.
    public static func check(_ result: ConfigurationResult, file: String) -> [ConfigurationProblem] {
        var problems = ConfigurationCheck(result, file: file).problems
        if let parts = result.parts {
            problems += AccountCheck(parts, file: file).problems + SurroundingsCheck(parts, file: file).problems
        }
        return problems.inOrderOfTheFile
    }

    /// Refuses what the account could not read again; says where `user:` does nothing.
    private static func checkAccount(
        _ result: ConfigurationResult, _ options: RunOptions, _ logger: Logger
    ) throws(StartError) {
        let problems = result.parts.map { AccountCheck($0, file: options.configurationPath).problems } ?? []
        guard !problems.contains(where: { $0.severity == .error }) else { throw StartError(problems.report) }
        for problem in problems { logger.warning("user.ignored", metadata: ["problem": "\(problem)"]) }
    }

    private static func tlsFiles(
        _ configuration: GatewayConfiguration
    ) throws(StartError) -> ([TLSContext?], [TicketKey]?) {
        do {
            return (
                try SnapshotBuilder.tlsContexts(configuration), try SnapshotBuilder.ticketKeys(configuration)
            )
        } catch {
            throw StartError("\(error)")
        }
    }

    private static func openAccessLog(_ configuration: GatewayConfiguration) throws(StartError) -> AccessLog? {
        do throws(AccessLog.OpenError) {
            switch configuration.log.access {
            case .off: return nil
            case .standardOutput: return try AccessLog(path: nil)
            case .file(let path): return try AccessLog(path: path)
            }
        } catch {
            throw StartError("log.access: \(error)")
        }
    }

    private static func openResources(
        _ configuration: GatewayConfiguration, _ options: RunOptions,
        _ metrics: MetricRegistry, _ logger: Logger
    ) throws(StartError) -> ProcessResources {
        let (database, keys) = try IdentityStore.open(configuration)
        let hasher: PasswordHasher
        do throws(PasswordHasherError) {
            hasher = try PasswordHasher()
        } catch {
            throw StartError("password hashing cannot be set up: \(error)")
        }
        let seed = RateLimitSeed.random()
        let resources = ProcessResources(
            database: database, identityKeys: keys, hasher: hasher, signInThrottle: MemorySignInThrottle(seed: seed),
            revocations: RevocationTable(), limitSeed: seed,
            memoryLimits: MemoryRateLimitStore(),
            remoteKeys: RemoteKeySets(fetcher: HTTPFetcher()), bodyFiles: BodyFiles(),
            upstreamPlaces: UpstreamPlaceTable(),
            temporaryFolder: GatewayProcess.temporaryFolder(options.environment), metrics: metrics, logger: logger)
        try sampleUsers(configuration, options, resources)
        return resources
    }

    /// Sample users exist only in development; a start without the flag refuses a database that still has them.
    private static func sampleUsers(
        _ configuration: GatewayConfiguration, _ options: RunOptions, _ resources: ProcessResources
    ) throws(StartError) {
        let directory = Directory(resources.database)
        if options.isDevelopment {
            do {
                try IdentityStore.seedSamples(configuration, resources)
            } catch {
                throw StartError("the sample users cannot be made: \(error)")
            }
            return
        }
        do throws(StoreError) {
            let count = try waitFor { () async throws(StoreError) in try await directory.sampleUserCount() }
            guard count == 0 else {
                throw StoreError(
                    "\(configuration.identity.databasePath) holds \(count) sample users, whose passwords everyone"
                        + " knows; use another database, or start with --dev on a machine of your own")
            }
        } catch {
            throw StartError("\(error)")
        }
    }
}
