internal import CLinux
internal import EventLoop
internal import Glibc
internal import HTTPModel
internal import Telemetry

/// One worker's connections to the endpoints of one upstream.
public final class UpstreamPool {
    /// Times and limits.
    public let settings: UpstreamSettings
    private(set) var endpoints: [Endpoint]
    private let worker: Worker
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

    /// Makes an empty pool; call on the worker's thread. At most 64 endpoints.
    public init(_ settings: UpstreamSettings, endpoints: [EndpointAddresses], worker: Worker) {
        precondition((1...64).contains(endpoints.count))
        self.settings = settings
        self.endpoints = endpoints.map { Endpoint(name: $0.name, addresses: $0.addresses) }
        self.worker = worker
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
            worker.counters.upstreamConnectionsIdle.add(-Int64(idle.count))
        }
    }

    /// Finds a connection for the exchange and starts to send: an idle one unless `fresh`, else a new one; endpoints
    /// take turns, and one that refuses is passed over. Fails the exchange when none is left.
    func assign(_ exchange: Exchange, fresh: Bool) {
        for _ in endpoints.indices {
            let index = next
            next = next + 1 == endpoints.count ? 0 : next + 1
            if exchange.endpointsTried & (1 << UInt64(index)) != 0 { continue }
            if !fresh, let connection = takeIdle(endpoint: index) {
                exchange.endpointName = endpoints[index].name
                connection.serve(exchange)
                return
            }
            if connect(exchange, endpoint: index) { return }
            exchange.endpointsTried |= 1 << UInt64(index)
        }
        let status = exchange.error?.status == 504 ? 504 : 502
        exchange.downstream?.fail(ExchangeError(side: .upstream, step: "connect", status: status))
    }

    /// An idle connection that has nothing to say; those that do are closed.
    private func takeIdle(endpoint index: Int) -> UpstreamConnection? {
        while let connection = endpoints[index].idle.popLast() {
            idleCount -= 1
            worker.counters.upstreamConnectionsIdle.add(-1)
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
        worker.counters.upstreamConnectionsIdle.add(1)
        return true
    }

    /// An idle connection ended.
    func forget(_ connection: UpstreamConnection) {
        guard let index = endpoints[connection.endpoint].idle.firstIndex(where: { $0 === connection }) else { return }
        endpoints[connection.endpoint].idle.remove(at: index)
        idleCount -= 1
        worker.counters.upstreamConnectionsIdle.add(-1)
    }
}
