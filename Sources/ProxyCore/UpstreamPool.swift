internal import CLinux
internal import EventLoop
internal import Glibc
internal import HTTPModel
public import Telemetry

/// One worker's connections to the endpoints of one upstream.
public final class UpstreamPool {
    /// Times and limits.
    public let settings: UpstreamSettings
    /// The exchanges that its endpoints may have at a time; `nil`: as many as come.
    public let places: UpstreamPlaces?
    let counters: UpstreamCounters
    private(set) var endpoints: [Endpoint]
    private let worker: Worker
    private let idleConnections: Gauge
    private var next = 0
    private var idleCount = 0
    /// Set when the configuration that named this pool is gone: connections are not kept any more.
    private var isRetired = false

    struct Endpoint {
        let name: String
        var addresses: [NetworkAddress]
        var nextAddress = 0
        /// The most recently used one last.
        var idle: [UpstreamConnection] = []
    }

    /// An endpoint as the configuration names it, with what the name stands for now.
    public struct EndpointAddresses: Sendable, Equatable {
        /// As in the configuration, for the log.
        public var name: String
        /// In the order to try; empty while a name does not resolve.
        public var addresses: [NetworkAddress]

        /// Memberwise.
        public init(name: String, addresses: [NetworkAddress]) {
            self.name = name
            self.addresses = addresses
        }
    }

    /// Makes an empty pool; call on the worker's thread. At most 64 endpoints. `places` are those of the same endpoints,
    /// which all workers share.
    public init(
        _ settings: UpstreamSettings, endpoints: [EndpointAddresses], places: UpstreamPlaces? = nil,
        counters: UpstreamCounters, worker: Worker
    ) {
        precondition((1...64).contains(endpoints.count))
        precondition(places == nil || places?.endpointNames == endpoints.map(\.name))
        self.settings = settings
        self.places = places
        self.counters = counters
        self.endpoints = endpoints.map { Endpoint(name: $0.name, addresses: $0.addresses) }
        self.worker = worker
        idleConnections = worker.counters.upstreamConnectionsIdle
        // Workers begin at different endpoints, so that few requests do not all meet the first one.
        next = worker.index % endpoints.count
    }

    /// The endpoints as the configuration names them.
    public var endpointNames: [String] { endpoints.map(\.name) }

    /// A name was resolved again; idle connections to addresses that are gone are closed when their time is over.
    public func update(_ resolved: [EndpointAddresses]) {
        for new in resolved {
            guard let index = endpoints.firstIndex(where: { $0.name == new.name }), !new.addresses.isEmpty else {
                continue
            }
            endpoints[index].addresses = new.addresses
        }
    }

    /// Closes idle connections, and keeps none from now on; exchanges under way finish.
    public func retire() {
        isRetired = true
        for index in endpoints.indices {
            let idle = endpoints[index].idle
            endpoints[index].idle = []
            for connection in idle { connection.closeIdle() }
            idleCount -= idle.count
            idleConnections.add(-Int64(idle.count))
        }
    }

    /// Finds a connection for the exchange and starts to send: an idle one unless `fresh`, else a new one; endpoints
    /// take turns, and one that refuses is passed over. Fails the exchange when none is left.
    ///
    /// Where places are counted, an exchange that finds none waits for one.
    func assign(_ exchange: Exchange, fresh: Bool) {
        if let places {
            assign(exchange, fresh: fresh, within: places)
            return
        }
        for _ in endpoints.indices {
            let index = next
            next = next + 1 == endpoints.count ? 0 : next + 1
            if exchange.endpointsTried & (1 << UInt64(index)) != 0 { continue }
            if begin(exchange, endpoint: index, fresh: fresh) { return }
            exchange.endpointsTried |= 1 << UInt64(index)
        }
        failToConnect(exchange)
    }

    private func assign(_ exchange: Exchange, fresh: Bool, within places: UpstreamPlaces) {
        // A kept connection has died: its place is still this exchange's.
        if exchange.endpointHeld >= 0, begin(exchange, atHeldPlaceAfresh: fresh) { return }
        while true {
            let all: UInt64 = .max >> UInt64(64 - endpoints.count)
            let allowed = all & ~exchange.endpointsTried
            guard allowed != 0 else {
                failToConnect(exchange)
                return
            }
            guard
                let index = places.take(among: allowed, from: next)
                    ?? EndpointWait.begin(
                        exchange, allowed: allowed, from: next, pool: self, places: places, worker: worker)
            else { return }
            next = index + 1 == endpoints.count ? 0 : index + 1
            exchange.endpointHeld = index
            if begin(exchange, atHeldPlaceAfresh: fresh) { return }
        }
    }

    /// An exchange that waited has been called.
    func resume(_ exchange: Exchange) {
        if !begin(exchange, atHeldPlaceAfresh: false) { assign(exchange, fresh: false) }
    }

    /// Begins at the endpoint where the exchange has its place; gives that back when it is refused.
    private func begin(_ exchange: Exchange, atHeldPlaceAfresh fresh: Bool) -> Bool {
        let index = exchange.endpointHeld
        if begin(exchange, endpoint: index, fresh: fresh) { return true }
        exchange.endpointsTried |= 1 << UInt64(index)
        exchange.giveBackPlace()
        return false
    }

    /// On an idle connection or a new one; `false`: the endpoint refused at once.
    private func begin(_ exchange: Exchange, endpoint index: Int, fresh: Bool) -> Bool {
        if !fresh, let connection = takeIdle(endpoint: index) {
            exchange.endpointName = endpoints[index].name
            connection.serve(exchange)
            return true
        }
        return connect(exchange, endpoint: index)
    }

    private func failToConnect(_ exchange: Exchange) {
        let status = exchange.error?.status == 504 ? 504 : 502
        exchange.downstream?.fail(ExchangeError(side: .upstream, step: "connect", status: status))
    }

    /// An idle connection that has nothing to say; those that do are closed.
    private func takeIdle(endpoint index: Int) -> UpstreamConnection? {
        while let connection = endpoints[index].idle.popLast() {
            idleCount -= 1
            idleConnections.add(-1)
            if !connection.hasSpoken { return connection }
            connection.closeIdle()
        }
        return nil
    }

    /// An attempt ended before the connection stood: the endpoint's next address, the next endpoint, or the end.
    func connectFailed(_ exchange: Exchange, endpoint: Int, timedOut: Bool) {
        worker.counters.upstreamConnectFailures.add()
        exchange.addressesTried += 1
        if exchange.addressesTried < endpoints[endpoint].addresses.count, connect(exchange, endpoint: endpoint) {
            return
        }
        exchange.addressesTried = 0
        exchange.endpointsTried |= 1 << UInt64(endpoint)
        exchange.giveBackPlace()
        exchange.error = ExchangeError(side: .upstream, step: "connect", status: timedOut ? 504 : 502)
        assign(exchange, fresh: false)
    }

    private func connect(_ exchange: Exchange, endpoint index: Int) -> Bool {
        let addresses = endpoints[index].addresses
        for _ in addresses {
            let address = addresses[endpoints[index].nextAddress % addresses.count]
            guard let descriptor = UpstreamPool.startConnect(address) else {
                worker.counters.upstreamConnectFailures.add()
                endpoints[index].nextAddress = (endpoints[index].nextAddress + 1) % addresses.count
                continue
            }
            let transport = Transport(Descriptor(adopting: descriptor), tls: nil, wire: worker.wire)
            let connection = UpstreamConnection(transport, pool: self, endpoint: index, worker: worker)
            guard connection.start() else { continue }
            worker.counters.upstreamConnects.add()
            exchange.endpointName = endpoints[index].name
            connection.serve(exchange)
            return true
        }
        return false
    }

    private static func startConnect(_ address: NetworkAddress) -> CInt? {
        let type = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let number = socket(address.family, type, 0)
        guard number >= 0 else { return nil }
        if address.family != AF_UNIX {
            var noDelay: CInt = 1
            _ = unsafe setsockopt(
                number, CInt(IPPROTO_TCP), TCP_NODELAY, &noDelay, socklen_t(MemoryLayout<CInt>.size))
        }
        let code = unsafe address.withSockaddr { unsafe Glibc.connect(number, $0, $1) }
        if code == 0 || errno == EINPROGRESS { return number }
        close(number)
        return nil
    }

    /// Tries another address of the endpoint first next time.
    func addressFailed(endpoint index: Int) {
        let count = endpoints[index].addresses.count
        if count > 1 { endpoints[index].nextAddress = (endpoints[index].nextAddress + 1) % count }
    }

    /// Takes a connection back that can serve again; `false`: the caller closes it.
    func park(_ connection: UpstreamConnection) -> Bool {
        guard !isRetired, !worker.isDraining, settings.keepAliveTimeout > 0,
            idleCount < settings.keepAliveConnectionsMax
        else { return false }
        endpoints[connection.endpoint].idle.append(connection)
        idleCount += 1
        idleConnections.add(1)
        return true
    }

    /// An idle connection ended.
    func forget(_ connection: UpstreamConnection) {
        guard let index = endpoints[connection.endpoint].idle.firstIndex(where: { $0 === connection }) else { return }
        endpoints[connection.endpoint].idle.remove(at: index)
        idleCount -= 1
        idleConnections.add(-1)
    }
}

/// What one worker counts of one upstream.
public struct UpstreamCounters: Sendable {
    /// Exchanges that wait now.
    public let waiting: Gauge
    /// Exchanges that had to wait.
    public let queued: Counter
    /// Exchanges that were refused because as many waited as may.
    public let full: Counter
    /// Exchanges that waited too long.
    public let timedOut: Counter
    /// Exchanges whose client had ended its side of the connection, before they waited or while they did.
    public let left: Counter

    /// Registers the instruments of one worker.
    public init(_ registry: MetricRegistry, upstream: String) {
        let label = ("upstream", upstream)
        waiting = registry.gauge(
            "upstream_queue_length", help: "Requests that wait for a place at an endpoint.", labels: [label])
        queued = registry.counter(
            "upstream_queued_total", help: "Requests that had to wait for a place at an endpoint.", labels: [label])
        func refused(_ reason: String) -> Counter {
            registry.counter(
                "upstream_queue_refused_total", help: "Requests that got no place at an endpoint, by reason.",
                labels: [label, ("reason", reason)])
        }
        full = refused("full")
        timedOut = refused("timeout")
        left = refused("left")
    }
}
