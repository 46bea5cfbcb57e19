import EventLoop
import Glibc
import HTTPModel
import Synchronization
import Telemetry
import TestSupport

@testable import ProxyCore

/// What a filter was told of an exchange's end, without what belongs to the worker.
struct Ended: Sendable {
    var status: Int
    var requestBodyBytes: UInt64
    var responseBodyBytes: UInt64
    var error: ExchangeError?
    var retries: Int
    var wasUpgraded: Bool
    var endpoint: String?
    var queueDuration: UInt64
}

/// What the worker's thread tells the test's.
final class Record: Sendable {
    private let list = Mutex<[Ended]>([])

    func add(_ ended: Ended) { list.withLock { $0.append(ended) } }

    var all: [Ended] { list.withLock { $0 } }

    /// The ends of exchanges, once there are as many.
    func ends(_ count: Int) -> [Ended] {
        _ = eventually { all.count >= count }
        return all
    }
}

/// Chooses by the first segment of the path: `/own` is answered here, `/wait` when the test says so, `/handler` by
/// the handler, anything else by the endpoints.
final class TestFilter: RequestFilter {
    let record: Record
    var pool: UpstreamPool?
    var handler: HandlerUpstream?
    var bodyBytesMax = UInt64.max
    var allowsUpgrade = true
    var trailers: TrailerNames?
    var requestBuffering: BodyBuffering?
    var responseBuffering: BodyBuffering?
    /// Called on the worker's thread before a request is judged, with its path.
    var whenDeciding: (String) -> Void = { _ in }
    /// Exchanges that wait for the test, with their generations.
    var waiting: [(exchange: Exchange, generation: UInt64)] = []

    init(record: Record) { self.record = record }

    func makeExchangeState() -> AnyObject { record }

    func decide(_ exchange: Exchange) -> Verdict {
        exchange.bodyBytesMax = bodyBytesMax
        exchange.allowsUpgrade = allowsUpgrade
        let bytes = exchange.headBytes
        let range = Int(exchange.head.path.start)..<Int(exchange.head.path.start) + Int(exchange.head.path.count)
        let path = String(decoding: range.map { bytes[$0] }, as: UTF8.self)
        whenDeciding(path)
        if path == "/peer" {
            return .respond(LocalResponse(status: 200, body: Array("\(exchange.peer) \(exchange.peerPort)".utf8)))
        }
        if path.hasPrefix("/own") {
            return .respond(LocalResponse(status: path == "/own/204" ? 204 : 200, body: Array("mine".utf8)))
        }
        if path.hasPrefix("/wait") {
            waiting.append((exchange, exchange.generation))
            return .suspend
        }
        if path.hasPrefix("/handler"), let handler { return .handle(handler) }
        guard let pool else { return .respond(LocalResponse(status: 404)) }
        exchange.trailers = trailers
        exchange.requestBuffering = requestBuffering
        exchange.responseBuffering = responseBuffering
        exchange.upstreamFields.append("X-Added: by-filter\r\n" as StaticString)
        return .forward(pool)
    }

    func responseArrived(_ exchange: Exchange, head: inout ResponseHead, bytes: Span<UInt8>) {
        exchange.responseFields.append("X-Seen: by-filter\r\n" as StaticString)
    }

    func response(to error: ExchangeError, _ exchange: Exchange) -> LocalResponse {
        LocalResponse(status: error.status, body: Array(error.step.utf8), closes: error.side == .downstream)
    }

    func ended(_ exchange: Exchange, _ report: ExchangeReport) {
        waiting.removeAll { $0.exchange === exchange }
        record.add(
            Ended(
                status: report.status, requestBodyBytes: report.requestBodyBytes,
                responseBodyBytes: report.responseBodyBytes, error: exchange.error, retries: report.retries,
                wasUpgraded: report.wasUpgraded, endpoint: exchange.endpointName, queueDuration: report.queueDuration))
    }
}

/// A worker on its own thread, listening on loopback, with one pool of endpoints.
final class TestGateway: @unchecked Sendable {
    // Everything but the mailbox belongs to the worker's thread once it runs.
    private let worker: Worker
    private let filter: TestFilter
    private let socket: ListeningSocket
    private var thread: LoopThread?
    let record = Record()
    let registry = MetricRegistry()
    let counters: WorkerCounters
    let connections = ConnectionCount()
    /// Of the endpoints, where they have bounds.
    let places: UpstreamPlaces?
    let port: UInt16

    static let second: UInt64 = 1_000_000_000
    static let millisecond: UInt64 = 1_000_000

    /// `configure` may change the settings before anything runs; ports are endpoints on loopback.
    init(
        to ports: [UInt16] = [], tls: TLSContext? = nil, ticketKeys: TicketKeys = TicketKeys(),
        handler: (any RequestHandler)? = nil,
        endpoints: [UpstreamPool.EndpointAddresses]? = nil, bounds: UpstreamPlaces.Bounds? = nil,
        places: UpstreamPlaces? = nil,
        listener configureListener: (inout ListenerSettings) -> Void = { _ in },
        upstream configureUpstream: (inout UpstreamSettings) -> Void = { _ in },
        filter configureFilter: (TestFilter) -> Void = { _ in }
    ) throws {
        guard let any = NetworkAddress(numericHost: "127.0.0.1", port: 0) else { throw Peer.Problem("address") }
        socket = try ListeningSocket(any)
        port = socket.address.port
        counters = WorkerCounters(registry)
        var made: TestFilter?
        worker = try Worker(index: 0, counters: counters) { [record] _ in
            let filter = TestFilter(record: record)
            made = filter
            return filter
        }
        guard let made else { throw Peer.Problem("filter") }
        filter = made
        var settings = ListenerSettings(
            name: "test", tls: tls, port: port, connectionsMax: 1000, connections: connections,
            handshakeTimeout: 5 * Self.second,
            headTimeout: 5 * Self.second, bodyTimeout: 5 * Self.second, idleTimeout: 5 * Self.second,
            tunnelIdleTimeout: 5 * Self.second, headLimits: HeadLimits(bytesMax: 8192, fieldsMax: 50),
            chunkExtensionBytesMax: 64, filterIndex: 0)
        configureListener(&settings)
        var upstream = UpstreamSettings(
            name: "app", connectTimeout: 5 * Self.second, firstByteTimeout: 5 * Self.second,
            idleTimeout: 5 * Self.second, keepAliveTimeout: 5 * Self.second, keepAliveConnectionsMax: 8,
            headLimits: HeadLimits(bytesMax: 8192, fieldsMax: 50), queueTimeout: 5 * Self.second)
        configureUpstream(&upstream)
        let addresses =
            endpoints
            ?? ports.map { port in
                UpstreamPool.EndpointAddresses(
                    name: "127.0.0.1:\(port)",
                    addresses: NetworkAddress(numericHost: "127.0.0.1", port: port).map { [$0] } ?? [])
            }
        if !addresses.isEmpty {
            let ownPlaces = places ?? bounds.map { UpstreamPlaces($0, endpointNames: addresses.map(\.name)) }
            self.places = ownPlaces
            filter.pool = UpstreamPool(
                upstream, endpoints: addresses, places: ownPlaces,
                counters: UpstreamCounters(registry, upstream: "app"), worker: worker)
        } else {
            self.places = nil
        }
        if let handler { filter.handler = HandlerUpstream(handler, bodyBytesMax: 1000) }
        configureFilter(filter)
        worker.use(ticketKeys)
        try worker.listen(on: socket.number, settings: settings)
        thread = try LoopThread(name: "test-worker") { [self] in worker.loop.run() }
    }

    func connect(receiveBuffer: CInt? = nil) throws -> Peer { try Peer(port: port, receiveBuffer: receiveBuffer) }

    /// Runs something on the worker's thread and waits for it.
    func onWorker<Value: Sendable>(_ body: @escaping @Sendable (Worker, TestFilter) -> Value) -> Value? {
        let gate = Gate()
        let result = Mutex<Value?>(nil)
        let box = Box(result)
        worker.loop.mailbox.post { [self] _ in
            box.value.withLock { $0 = body(worker, filter) }
            gate.open()
        }
        gate.wait()
        return box.value.withLock { $0 }
    }

    private final class Box<Value: Sendable>: Sendable {
        let value: Mutex<Value?>
        init(_ value: consuming Mutex<Value?>) { self.value = value }
    }

    /// Holds the worker's thread until the gate is opened: what happens meanwhile, it sees at one time.
    func hold() -> Gate {
        let entered = Gate()
        let release = Gate()
        worker.loop.mailbox.post { _ in
            entered.open()
            release.wait()
        }
        entered.wait()
        return release
    }

    var connectionCount: Int { onWorker { worker, _ in worker.connectionCount } ?? -1 }

    /// Answers the oldest exchange that waits.
    func proceed(_ status: Int) {
        _ = onWorker { _, filter in
            guard !filter.waiting.isEmpty else { return }
            let (exchange, generation) = filter.waiting.removeFirst()
            exchange.proceed(.respond(LocalResponse(status: status)), generation: generation)
        }
    }

    var waitingCount: Int { onWorker { _, filter in filter.waiting.count } ?? -1 }

    /// Begins to drain; the flag turns true when no connection is left.
    func drain() -> Flag {
        let flag = Flag()
        _ = onWorker { worker, _ in worker.drain { flag.set() } }
        return flag
    }

    /// The same for a worker that is held.
    func drainLater() -> Flag {
        let flag = Flag()
        worker.loop.mailbox.post { [self] _ in worker.drain { flag.set() } }
        return flag
    }

    /// Stops the thread; called once.
    func stop() {
        worker.loop.mailbox.post { $0.stop() }
        thread?.join()
    }
}

/// Something that becomes true once, seen from any thread.
final class Flag: Sendable {
    private let value = Mutex(false)

    func set() { value.withLock { $0 = true } }

    var isSet: Bool { value.withLock { $0 } }
}

/// Runs a gateway and its endpoint for the length of a test.
func withGateway(
    _ upstream: FakeUpstream, tls: TLSContext? = nil, ticketKeys: TicketKeys = TicketKeys(),
    bounds: UpstreamPlaces.Bounds? = nil,
    listener configureListener: (inout ListenerSettings) -> Void = { _ in },
    upstream configureUpstream: (inout UpstreamSettings) -> Void = { _ in },
    filter configureFilter: (TestFilter) -> Void = { _ in },
    _ body: (TestGateway) throws -> Void
) throws {
    defer { upstream.stop() }
    let gateway = try TestGateway(
        to: [upstream.port], tls: tls, ticketKeys: ticketKeys, bounds: bounds, listener: configureListener,
        upstream: configureUpstream,
        filter: configureFilter)
    defer { gateway.stop() }
    try body(gateway)
}

let okResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func get(_ path: String, _ fields: String = "") -> String { "GET \(path) HTTP/1.1\r\nHost: a.test\r\n\(fields)\r\n" }
