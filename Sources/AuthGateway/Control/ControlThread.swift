import CLinux
import EventLoop
import GatewayConfig
import Glibc
import HTTPModel
import Logging
import ProxyCore
import RateLimit
import Redis
import Storage
import Telemetry

/// The control thread: signals, reloads, certificate files, names, the admin listener. Workers are reached through
/// their mailboxes alone.
///
/// A reload is built on a thread of its own, because it reads files and resolves names; the control thread hands the
/// finished snapshot to the workers.
final class ControlThread: @unchecked Sendable {
    // Everything below belongs to the control thread; other threads post to `mailbox`.
    private let options: RunOptions
    private let builder: SnapshotBuilder
    private var snapshot: GatewaySnapshot
    private let sockets: ListeningSockets
    private let workers: [WorkerHost]
    private let balance: ConnectionBalance
    /// The most connections since memory was last given back.
    private var connectionsPeak = 0
    /// A second ago.
    private var connectionsBefore = 0
    /// Workers that have lost their Redis.
    private var workersWithoutRedis: Set<Int> = []
    private let memoryBound = MemoryBound()
    private let accessLog: AccessLog?
    private let logger: Logger
    private let admin: Worker
    private let adminSocket: AdminSocket?
    private let readiness: ServingState
    private let mailbox: Mailbox
    private var watcher: FileWatcher
    private var ticketKeys: TicketKeyRing
    /// Staples and revocation lists that have ended and were reported.
    private var reportedEnds: Set<String> = []
    private var isReloading = false
    /// Workers take over the last snapshot; until all have, no other may open or close sockets.
    private var isHandingOver = false
    private var mustReloadAgain = false
    private var isStopping = false
    private var drainedWorkers = 0
    private var signals: SignalSource?
    private var ticker: Ticker?
    private var ticks: UInt64 = 0
    private let reloadSuccess: Gauge
    private let reloadTime: Gauge
    private let reloads: Counter
    private let reloadFailures: Counter

    init(
        options: RunOptions, builder: SnapshotBuilder, snapshot: GatewaySnapshot, sockets: ListeningSockets,
        adminSocket: AdminSocket?, workerCount: Int, ticketKeys: [TicketKey]?, accessLog: AccessLog?, logger: Logger
    ) throws(SystemError) {
        let metrics = builder.process.metrics
        self.options = options
        self.builder = builder
        self.snapshot = snapshot
        self.sockets = sockets
        self.accessLog = accessLog
        self.logger = logger
        let readiness = ServingState()
        self.readiness = readiness
        watcher = FileWatcher(snapshot.configuration.watchedFiles)
        self.ticketKeys = TicketKeyRing(file: ticketKeys, now: .monotonic)
        let services = GatewayServices(
            revocations: builder.process.revocations, memoryLimits: builder.process.memoryLimits,
            accessLog: accessLog, metrics: metrics)
        var workers: [WorkerHost] = []
        for index in 0..<workerCount {
            let host = try WorkerHost(index: index, services: services)
            try host.prepare(snapshot, sockets: sockets.lent(toWorker: index))
            host.use(self.ticketKeys.keys)
            workers.append(host)
        }
        balance = WorkerHost.balance(workers)
        self.workers = workers
        admin = try Worker(index: 0, counters: WorkerCounters(MetricRegistry())) { _ in
            AdminFilter(metrics: metrics, readiness: readiness)
        }
        mailbox = admin.loop.mailbox
        self.adminSocket = adminSocket
        reloadSuccess = metrics.gauge("config_last_reload_success", help: "Whether the last reload was taken: 1 or 0.")
        reloadTime = metrics.gauge(
            "config_last_reload_success_timestamp",
            help: "When the configuration in use was taken, seconds since the epoch.")
        reloads = metrics.counter("config_reloads_total", help: "Reloads that were taken.")
        reloadFailures = metrics.counter("config_reload_failures_total", help: "Reloads that were refused.")
        registerProcessMetrics(metrics)
        reloadSuccess.set(1)
        reloadTime.set(currentEpochSeconds())
    }

    /// Serves until the process was told to stop and has drained.
    func serve() throws(SystemError) {
        if let adminSocket { try admin.listen(on: adminSocket.socket.number, settings: adminSocket.settings) }
        signals = try SignalSource(loop: admin.loop) { [unowned self] number in received(signal: number) }
        ticker = Ticker(loop: admin.loop, interval: 1_000_000_000) { [unowned self] in tick() }
        for worker in workers {
            let index = worker.index
            worker.redisChanged = { [mailbox] state in
                mailbox.post { [unowned self] _ in redisChanged(worker: index, to: state) }
            }
            try worker.start()
        }
        boundMemory()
        readiness.set(true)
        logger.notice(
            "gateway.started",
            metadata: [
                "version": "\(options.version)", "workers": "\(workers.count)",
                "listeners": "\(snapshot.listenerSettings.map(\.name).joined(separator: " "))",
                "admin": "\(adminSocket?.settings.name ?? "off")",
            ])
        admin.loop.run()
        for worker in workers { worker.join() }
        // The last worker's word that it listens no more may have come too late to be heard.
        sockets.closeAll()
        adminSocket?.socket.removeFile()
        logger.notice("gateway.stopped")
    }

    // MARK: Signals

    private func received(signal number: CInt) {
        switch number {
        case SIGHUP: reload(because: "SIGHUP")
        case SIGUSR1:
            accessLog?.reopen()
            logger.notice("log.reopened")
        case SIGTERM, SIGINT:
            if isStopping, number == SIGINT { finish(timedOut: true) } else { beginStop() }
        default: break
        }
    }

    private func beginStop() {
        guard !isStopping else { return }
        isStopping = true
        readiness.set(false)
        logger.notice("gateway.draining")
        after(snapshot.configuration.drainDelay) { [unowned self] in
            let listening = WorkerCount(workers.count)
            for worker in workers {
                worker.mailbox.post { [mailbox] _ in
                    worker.drain { mailbox.post { [unowned self] _ in workerDrained() } }
                    mailbox.post { [unowned self] _ in if listening.countDown() { sockets.closeAll() } }
                }
            }
            after(snapshot.configuration.stopTimeout) { [unowned self] in finish(timedOut: true) }
        }
    }

    private func workerDrained() {
        drainedWorkers += 1
        if drainedWorkers == workers.count { finish(timedOut: false) }
    }

    private var isFinished = false

    private func finish(timedOut: Bool) {
        guard !isFinished else { return }
        isFinished = true
        if timedOut { logger.warning("gateway.stop_timeout", metadata: ["drained_workers": "\(drainedWorkers)"]) }
        for worker in workers { worker.mailbox.post { _ in worker.stop() } }
        admin.loop.stop()
    }

    private var delayed: [Alarm] = []

    private func after(_ delay: Duration, _ action: @escaping () -> Void) {
        guard delay > .zero else {
            action()
            return
        }
        delayed.append(Alarm(loop: admin.loop, delay: delay.nanosecondsForTimers, action))
    }

    // MARK: Each second

    private func tick() {
        guard !isStopping else { return }
        ticks += 1
        boundMemory()
        builder.process.remoteKeys.poll(logger: logger)
        if watcher.hasChanged() { reload(because: "a certificate or key file changed") }
        if ticketKeys.rotate(at: .monotonic, every: snapshot.configuration.tickets.rotation) { giveTicketKeys() }
        reportEnds(now: currentEpochSeconds())
        if ticks % 30 == 0 { resolveNames() }
        if ticks % 300 == 0 { purgeSessions() }
        logRefusals()
        giveMemoryBack()
    }

    /// At most once a second for each address and reason, however many there were.
    private func logRefusals() {
        for (name, note) in sockets.takeRefusals() {
            logger.warning(
                "connections.refused",
                metadata: [
                    "listener": "\(name)", "reason": "\(note.reason.rawValue)", "count": "\(note.count)",
                    "last_peer": "\(note.peer)",
                ])
        }
    }

    /// What workers keep for exchanges to come counts as held: before memory is short, they give it back.
    private func boundMemory() {
        let bytesMax = snapshot.configuration.memoryBytesMax ?? memoryBound.bytesMax
        MemoryAccount.bound(to: bytesMax)
        guard MemoryAccount.bytesHeld > bytesMax / 2 else { return }
        for worker in workers { worker.mailbox.post { _ in worker.removeSpareMemory() } }
    }

    /// The allocator keeps what connections leave behind, because a few live ones lie between: when most of a crowd
    /// has gone, it is told to look for whole pages.
    private func giveMemoryBack() {
        let open = balance.connectionCount
        connectionsPeak = max(connectionsPeak, balance.takePeak())
        // While they are still going, most of their memory is still in use.
        let isSettled = open + ControlThread.goneConnectionsMin / 10 >= connectionsBefore
        connectionsBefore = open
        guard isSettled, connectionsPeak - open >= ControlThread.goneConnectionsMin, open <= connectionsPeak / 2 else {
            return
        }
        connectionsPeak = open
        runAside("memory") { _ = clinux_malloc_trim() }
    }

    private static let goneConnectionsMin = 500

    private func redisChanged(worker: Int, to state: RedisConnectionState) {
        switch state {
        case .waiting(let reason):
            if workersWithoutRedis.isEmpty { logger.warning("redis.away", metadata: ["reason": "\(reason)"]) }
            workersWithoutRedis.insert(worker)
        case .ready:
            guard workersWithoutRedis.remove(worker) != nil, workersWithoutRedis.isEmpty else { return }
            logger.notice("redis.back")
        // Nothing needs it any more.
        case .closed: workersWithoutRedis.remove(worker)
        case .connecting: break
        }
    }

    private func purgeSessions() {
        guard let sessions = snapshot.sessions as? SessionStore else { return }
        Task.detached { _ = try? await sessions.purgeEnded(now: currentEpochSeconds()) }
    }

    private func resolveNames() {
        let upstreams = snapshot.configuration.upstreams
        guard upstreams.contains(where: \.hasNames) else { return }
        let current = snapshot
        runAside("resolver") { [self] in
            let resolved = SnapshotBuilder.resolve(upstreams)
            mailbox.post { [unowned self] _ in
                guard snapshot === current else { return }
                for worker in workers { worker.mailbox.post { _ in worker.update(resolved) } }
            }
        }
    }

    // MARK: Files that end

    private func giveTicketKeys() {
        let keys = ticketKeys.keys
        for worker in workers { worker.mailbox.post { _ in worker.use(keys) } }
    }

    /// Says once of each staple and revocation list that it has ended while it was in use.
    private func reportEnds(now: Int64) {
        for context in snapshot.listenerSettings.compactMap(\.tls) {
            for staple in context.staples where now >= staple.goodUntil {
                reportEnd(
                    of: staple.path, staple.goodUntil,
                    "the OCSP response in '\(staple.path)' has ended, and is stapled no more",
                    cure: "fetch a new one")
            }
            for policy in context.policies {
                guard let path = policy.revocationsPath, let end = policy.revocationsEnd, now >= end else { continue }
                reportEnd(
                    of: path, end,
                    "a revocation list in '\(path)' has ended, and every client certificate under it is refused",
                    cure: "fetch a new one")
            }
        }
    }

    private func reportEnd(of path: String, _ end: Int64, _ message: String, cure: String) {
        guard reportedEnds.insert("\(path) \(end)").inserted else { return }
        logger.warning("config.warning", metadata: ["problem": "\(message); \(cure)"])
    }

    // MARK: Reload

    private func reload(because cause: String) {
        guard !isStopping else { return }
        guard !isReloading, !isHandingOver else {
            mustReloadAgain = true
            return
        }
        isReloading = true
        logger.notice("config.reloading", metadata: ["cause": "\(cause)"])
        runAside("reload") { [self] in
            let outcome = Result { () throws(StartError) in try builder.read(options) }
            mailbox.post { [unowned self] _ in reloadEnded(outcome) }
        }
    }

    private func reloadEnded(_ outcome: Result<SnapshotBuilder.Loaded, StartError>) {
        isReloading = false
        do throws(StartError) {
            let loaded = try outcome.get()
            try take(loaded)
            GatewayServer.log(loaded.warnings, logger)
            reloads.add()
            reloadSuccess.set(1)
            reloadTime.set(currentEpochSeconds())
            logger.notice("config.reloaded")
        } catch {
            reloadFailures.add()
            reloadSuccess.set(0)
            logger.error("config.refused", metadata: ["problems": "\(error)"])
        }
        reloadAgainIfAsked()
    }

    private func reloadAgainIfAsked() {
        guard mustReloadAgain, !isReloading, !isHandingOver else { return }
        mustReloadAgain = false
        reload(because: "asked for during the last one")
    }

    /// Says which changed settings wait for a restart.
    private func warnOfFixedSettings(_ new: GatewayConfiguration) {
        let old = snapshot.configuration
        let changed = [
            ("workers", old.workers != new.workers), ("user", old.user != new.user),
            ("admin", old.admin != new.admin), ("log", old.log != new.log),
            ("identity.database", old.identity.databasePath != new.identity.databasePath),
        ].filter(\.1).map(\.0)
        guard !changed.isEmpty else { return }
        logger.warning("config.needs_restart", metadata: ["settings": "\(changed.joined(separator: " "))"])
    }

    private func take(_ loaded: SnapshotBuilder.Loaded) throws(StartError) {
        warnOfFixedSettings(loaded.configuration)
        let added = try sockets.open(loaded.configuration, workers: workers.count)
        let settings = builder.listenerSettings(
            loaded.configuration, loaded.contexts, sockets)
        let new: GatewaySnapshot
        do throws(SnapshotError) {
            new = try builder.snapshot(
                loaded.configuration, loaded.compiled, listenerSettings: settings, endpoints: loaded.endpoints,
                redisAddresses: loaded.redisAddresses)
        } catch {
            // Else they would count as open when the file is good, and nobody would accept on them.
            sockets.close(added)
            throw StartError("\(options.configurationPath): \(error)")
        }
        snapshot = new
        if ticketKeys.take(loaded.ticketKeys, at: .monotonic) { giveTicketKeys() }
        builder.process.remoteKeys.keep(onlyOf: new.configuration)
        watcher = loaded.watcher
        for worker in workers {
            let lent = sockets.lent(toWorker: worker.index, names: added)
            worker.mailbox.post { _ in worker.replace(new, newSockets: lent) }
        }
        closeUnused(new)
    }

    /// Sockets of addresses that are gone close when every worker has let go of them.
    private func closeUnused(_ new: GatewaySnapshot) {
        isHandingOver = true
        let wanted = Set(new.listenerSettings.map(\.name))
        let waiting = WorkerCount(workers.count)
        for worker in workers {
            worker.mailbox.post { [mailbox] _ in
                worker.stopListening(besides: wanted)
                mailbox.post { [unowned self] _ in
                    guard waiting.countDown() else { return }
                    sockets.close(besides: new.configuration)
                    isHandingOver = false
                    reloadAgainIfAsked()
                }
            }
        }
    }

    /// Runs blocking work on a thread of its own.
    private func runAside(_ name: String, _ work: @escaping @Sendable () -> Void) {
        do throws(SystemError) {
            try LoopThread(name: name, body: work).detach()
        } catch {
            logger.error("thread.failed", metadata: ["name": "\(name)", "error": "\(error)"])
            if name == "reload" { isReloading = false }
        }
    }

    private func registerProcessMetrics(_ metrics: MetricRegistry) {
        metrics.gauge(
            "build_info", help: "The version in the label; always 1.", labels: [("version", options.version)]
        ).set(1)
        metrics.computedGauge("memory_held_bytes", help: "Memory held for clients and their requests.") {
            Double(MemoryAccount.bytesHeld)
        }
        metrics.computedGauge("memory_max_bytes", help: "The most of it that may be held.") {
            Double(MemoryAccount.bytesMax)
        }
        metrics.computedGauge("process_resident_memory_bytes", help: "Resident memory.") { residentMemoryBytes() }
        let log = accessLog
        metrics.computedGauge("access_log_lines_dropped", help: "Access log lines lost since the start.") {
            Double(log?.linesDropped.value ?? 0)
        }
        let limits = builder.process.memoryLimits
        metrics.computedGauge("limit_memory_entries", help: "Buckets held in memory.") { Double(limits.entryCount) }
        let files = builder.process.bodyFiles
        metrics.computedGauge("body_file_bytes", help: "Bytes of buffered bodies in files.") { Double(files.bytesHeld) }
        let started = currentEpochSeconds()
        metrics.computedGauge("process_start_time_seconds", help: "When the process started.") { Double(started) }
    }
}

/// Counts down on the control thread.
private final class WorkerCount: @unchecked Sendable {
    // Touched by the control thread alone.
    private var remaining: Int

    init(_ count: Int) { remaining = count }

    func countDown() -> Bool {
        remaining -= 1
        return remaining == 0
    }
}

/// Zero where that cannot be read.
private func residentMemoryBytes() -> Double {
    Double((MemoryBound.statistics(ofMemory: 1) ?? 0) * sysconf(CInt(_SC_PAGESIZE)))
}
