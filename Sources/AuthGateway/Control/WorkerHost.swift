import EventLoop
import GatewayConfig
import HTTPModel
import IdentityModel
import JOSE
import ProxyCore
import RateLimit
import Redis
import Telemetry

/// One worker with its thread, as the control thread holds it: everything but `loop.mailbox` belongs to that thread.
final class WorkerHost: @unchecked Sendable {
    // Touched by the control thread before `start`, by the worker's own thread afterwards.
    private let worker: Worker
    private let filter: GatewayFilter
    private let services: GatewayServices
    private var redisConnection: (store: RedisTarget, connection: RedisConnection)?
    private var thread: LoopThread?
    let mailbox: Mailbox
    let index: Int
    /// Told, on the worker's thread, how things stand with Redis; set before `start`.
    var redisChanged: (@Sendable (RedisConnectionState) -> Void)?

    /// What makes two Redis configurations the same connection.
    private struct RedisTarget: Equatable {
        let host: String
        let port: UInt16
        let database: Int
        let username: String?
        let password: String?
    }

    init(index: Int, services: GatewayServices) throws(SystemError) {
        var made: GatewayFilter?
        worker = try Worker(index: index, counters: WorkerCounters(services.metrics)) { loop in
            let filter = GatewayFilter(services: services, loop: loop)
            made = filter
            return filter
        }
        guard let made else { preconditionFailure("the worker makes its filter") }
        filter = made
        made.watchOpenExchanges(of: worker)
        self.services = services
        self.index = index
        mailbox = worker.loop.mailbox
    }

    /// Takes the first snapshot and listens; before `start`.
    func prepare(_ snapshot: GatewaySnapshot, sockets: [ListeningSockets.Lent]) throws(SystemError) {
        install(snapshot)
        try listen(snapshot, sockets: sockets)
    }

    /// Makes the workers share what they accept; before any of them starts.
    static func balance(_ hosts: [WorkerHost]) -> ConnectionBalance { ConnectionBalance(hosts.map(\.worker)) }

    func start() throws(SystemError) {
        thread = try LoopThread(name: "worker-\(index)") { [self] in worker.loop.run() }
    }

    func join() { thread?.join() }

    // MARK: On the worker's thread

    /// Goes over to a new snapshot: sockets first, so that a listener whose address stays never stops accepting.
    func replace(_ snapshot: GatewaySnapshot, newSockets: [ListeningSockets.Lent]) {
        install(snapshot)
        worker.replaceListenerSettings(snapshot.listenerSettings)
        do throws(SystemError) {
            try listen(snapshot, sockets: newSockets)
        } catch {
            // The socket is open and valid; only memory could be missing here.
            preconditionFailure("cannot register a listener: \(error)")
        }
    }

    func update(_ endpoints: [[UpstreamPool.EndpointAddresses]]) {
        guard let pools = filter.current?.pools, pools.count == endpoints.count else { return }
        for (pool, resolved) in zip(pools, endpoints) { pool.update(resolved) }
    }

    func use(_ keys: TicketKeys) { worker.use(keys) }

    func removeSpareMemory() { worker.removeSpareMemory() }

    func stopListening(besides names: Set<String>) { worker.stopListening(besides: names) }

    func drain(whenDrained: @escaping @Sendable () -> Void) { worker.drain(whenDrained: whenDrained) }

    func stop() {
        filter.flushLog()
        worker.loop.stop()
    }

    private func listen(_ snapshot: GatewaySnapshot, sockets: [ListeningSockets.Lent]) throws(SystemError) {
        for socket in sockets {
            guard let settings = snapshot.listenerSettings.first(where: { $0.name == socket.name }) else { continue }
            try worker.listen(on: socket.number, isShared: socket.isShared, settings: settings)
        }
    }

    private func install(_ snapshot: GatewaySnapshot) {
        let previous = filter.current
        var pools: [UpstreamPool] = []
        for (index, settings) in snapshot.upstreamSettings.enumerated() {
            let endpoints = snapshot.endpoints[index]
            let places = snapshot.upstreamPlaces[index]
            if let bounds = UpstreamPlaces.Bounds(snapshot.configuration.upstreams[index]) { places?.use(bounds) }
            // A pool whose settings stay keeps its connections.
            if let pool = previous?.pools.first(where: {
                $0.settings == settings && $0.places === places && $0.endpointNames == endpoints.map(\.name)
            }) {
                pool.update(endpoints)
                pools.append(pool)
            } else {
                pools.append(
                    UpstreamPool(
                        settings, endpoints: endpoints, places: places, counters: counters(upstream: settings.name),
                        worker: worker))
            }
        }
        let names = snapshot.configuration.routes.map(\.name) + ["-"]
        filter.install(
            WorkerSnapshot(
                shared: snapshot, pools: pools,
                tokens: TokenCache(
                    snapshot.authenticators,
                    entriesMax: snapshot.configuration.authentication.jwtCacheEntriesMax),
                redis: redisLimit(snapshot), routeCounters: names.map(counters)))
    }

    private var countersByRoute: [String: RouteCounters] = [:]

    /// Counters outlive the snapshot: a reload does not set them back.
    private func counters(_ route: String) -> RouteCounters {
        if let known = countersByRoute[route] { return known }
        let made = RouteCounters(services.metrics, route: route)
        countersByRoute[route] = made
        return made
    }

    private var countersByUpstream: [String: UpstreamCounters] = [:]

    private func counters(upstream name: String) -> UpstreamCounters {
        if let known = countersByUpstream[name] { return known }
        let made = UpstreamCounters(services.metrics, upstream: name)
        countersByUpstream[name] = made
        return made
    }

    private func redisLimit(_ snapshot: GatewaySnapshot) -> RedisRateLimit? {
        guard let store = snapshot.configuration.redis,
            snapshot.configuration.limits.contains(where: { $0.store == .redis })
        else {
            redisConnection?.connection.close()
            redisConnection = nil
            return nil
        }
        let target = RedisTarget(
            host: store.host, port: store.port, database: store.database, username: store.username,
            password: store.password?.reveal())
        let addresses = snapshot.redisAddresses.compactMap { RedisAddress($0) }
        if let known = redisConnection, known.store == target {
            if !addresses.isEmpty { known.connection.use(addresses: addresses) }
            return RedisRateLimit(connection: known.connection, loop: worker.loop, timeout: store.timeout)
        }
        redisConnection?.connection.close()
        var settings = RedisSettings(addresses: addresses)
        settings.database = store.database
        settings.username = store.username
        if let password = store.password { settings.password = { Array(password.reveal().utf8) } }
        let connection = RedisConnection(settings: settings, loop: worker.loop)
        connection.stateChanged = { [unowned self] state in redisChanged?(state) }
        connection.start()
        redisConnection = (target, connection)
        return RedisRateLimit(connection: connection, loop: worker.loop, timeout: store.timeout)
    }
}

extension RedisAddress {
    init?(_ address: NetworkAddress) {
        guard let host = IPAddress(address) else { return nil }
        self.init(ip: host.description, port: address.port)
    }
}
