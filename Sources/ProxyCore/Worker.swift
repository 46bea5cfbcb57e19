public import EventLoop
internal import HTTPModel
internal import Synchronization
public import Telemetry

/// One thread's share of the data plane: its loop, its buffers, its pooled exchanges. Shares nothing mutable with other
/// workers; other threads reach it through `loop.mailbox`.
public final class Worker {
    /// Exchanges that may wait for a handler in this process at one time.
    public static let handledExchangesMax = 256

    /// The loop everything of this worker runs on.
    public let loop: EventLoop
    /// Counted from 0.
    public let index: Int
    /// What this worker counts.
    public let counters: WorkerCounters
    /// Set once, before the loop runs.
    public let filter: any RequestFilter
    /// While true, answers carry `Connection: close` and idle connections end.
    public private(set) var isDraining = false

    let wire = TLSWire()
    let turnEnd: TurnEnd
    let smallBuffers = ByteBufferPool(bufferCapacity: 16_384, spareMax: 256)
    let largeBuffers = ByteBufferPool(bufferCapacity: 65_536, spareMax: 16)
    /// For long bodies whose receivers keep up: as many system calls as with `largeBuffers` carry four times as much.
    let bulkBuffers = ByteBufferPool(bufferCapacity: 262_144, spareMax: 1)
    let spareHTTP2Memory = HTTP2SpareMemory()
    var handledExchanges = 0
    /// Pieces of bodies taken from their framing so far: chunks, frames. What a turn takes is bounded by it, because
    /// small ones cost far more than their bytes.
    var piecesTaken: UInt64 = 0
    /// Pieces that one connection may take before the others have their turn: less than a millisecond's.
    static let piecesPerTurn: UInt64 = 4096

    private var spareExchanges: [Exchange] = []
    private var listeners: [ListenerSocket] = []
    private(set) var connections: [ObjectIdentifier: any ServedConnection] = [:]
    private var proxyReaders: [ObjectIdentifier: ProxyHeaderReader] = [:]
    private var whenDrained: (() -> Void)?
    private var balance: (group: ConnectionBalance, own: ConnectionBalance.Member)?
    private var dateSeconds: Int64 = -1
    /// When the calendar is to be read again, in nanoseconds of the loop.
    private var dateEnds: UInt64 = 0
    private var date: [UInt8] = []

    /// Makes a worker; `makeFilter` gets its loop. Call on any thread, before the loop runs.
    public init(index: Int, counters: WorkerCounters, makeFilter: (EventLoop) -> any RequestFilter) throws(SystemError)
    {
        self.index = index
        self.counters = counters
        loop = try EventLoop()
        filter = makeFilter(loop)
        turnEnd = TurnEnd(loop)
    }

    // MARK: Listening

    /// Starts to accept on a listening socket that stays the control thread's; `isShared`: others accept on it too.
    public func listen(on socket: CInt, isShared: Bool = false, settings: ListenerSettings) throws(SystemError) {
        let listener = ListenerSocket(socket: socket, isShared: isShared, settings: settings, worker: self)
        try listener.start()
        listeners.append(listener)
    }

    /// Takes over keys for the tickets of TLS sessions; at the start they are the worker's own.
    public func use(_ keys: TicketKeys) { wire.ticketKeys = keys }

    /// Replaces the settings of the listeners, by their names; connections that are open take them over with their
    /// next request, all but the TLS context. Where the new one has no policy like theirs, they end with the exchange
    /// under way.
    public func replaceListenerSettings(_ settings: [ListenerSettings]) {
        for listener in listeners {
            guard let new = settings.first(where: { $0.name == listener.settings.name }) else { continue }
            let old = listener.settings.tls
            listener.settings = new
            guard !TLSContext.haveSamePolicies(old, new.tls) else { continue }
            for connection in connections.values where connection.listener === listener {
                guard !connection.isUnderPolicy(of: new.tls) else { continue }
                connection.drain()
            }
        }
    }

    /// A connection waits for the PROXY protocol's header.
    func began(_ reader: ProxyHeaderReader) { proxyReaders[ObjectIdentifier(reader)] = reader }

    func ended(_ reader: ProxyHeaderReader) { proxyReaders[ObjectIdentifier(reader)] = nil }

    /// Lets go of listening sockets that the configuration does not name any more; what waits is accepted first. Their
    /// connections end with the exchange under way: there are no rules for more.
    public func stopListening(besides names: Set<String>) {
        let gone = listeners.filter { !names.contains($0.settings.name) }
        guard !gone.isEmpty else { return }
        for listener in gone { listener.stop() }
        for reader in proxyReaders.values where gone.contains(where: { $0 === reader.listener }) { reader.endWait() }
        listeners.removeAll { !names.contains($0.settings.name) }
        for connection in connections.values where gone.contains(where: { $0 === connection.listener }) {
            connection.drain()
        }
    }

    /// Accepts what waits, then stops, so that the sockets may be closed when this returns; lets exchanges finish; calls
    /// `whenDrained` when no connection is left.
    public func drain(whenDrained: @escaping () -> Void) {
        isDraining = true
        balance?.own.isAccepting.store(false, ordering: .sequentiallyConsistent)
        for listener in listeners { listener.stop() }
        for reader in proxyReaders.values { reader.endWait() }
        listeners = []
        self.whenDrained = whenDrained
        for connection in connections.values { connection.drain() }
        finishDrainIfIdle()
    }

    /// Calls `body` with each exchange under way; it may cut the exchange.
    public func forEachOpenExchange(_ body: (Exchange) -> Void) {
        for connection in Array(connections.values) { connection.forEachExchange(body) }
    }

    /// Those of the process that share their listeners' connections, this one included.
    var workerCount: Int { balance?.group.workerCount ?? 1 }

    /// Connections that are open now.
    public var connectionCount: Int { connections.count }

    func opened(_ connection: any ServedConnection) { connections[ObjectIdentifier(connection)] = connection }

    func closed(_ connection: any ServedConnection) {
        connections[ObjectIdentifier(connection)] = nil
        countDown()
    }

    /// A connection goes on as another object.
    func replaced(_ connection: any ServedConnection, by successor: any ServedConnection) {
        connections[ObjectIdentifier(connection)] = nil
        connections[ObjectIdentifier(successor)] = successor
    }

    func finishDrainIfIdle() {
        let onTheirWay = balance?.own.connections.load(ordering: .sequentiallyConsistent) ?? 0
        guard connections.isEmpty, onTheirWay == 0, let action = whenDrained else { return }
        whenDrained = nil
        action()
    }

    // MARK: Balance

    func join(_ group: ConnectionBalance, as member: ConnectionBalance.Member) { balance = (group, member) }

    /// Serves a connection that one of this worker's listeners accepted, or lets a worker that holds fewer serve it.
    func place(_ accepted: consuming AcceptedConnection, listener: ListenerSocket) {
        guard let balance else {
            serve(accepted, listener)
            return
        }
        if !isDraining, let member = balance.group.betterPlace(than: balance.own) {
            accepted.sender = balance.own
            guard let returned = balance.group.hand(accepted, to: member) else {
                counters.connectionsHandedOver.add()
                return
            }
            accepted = returned
        }
        balance.own.connections.add(1, ordering: .sequentiallyConsistent)
        serve(accepted, listener)
    }

    /// Serves a connection that another worker accepted, and that is counted as this one's already. During a reload one of
    /// the two may have the address and the other not: then it goes back, once.
    func adopt(_ accepted: consuming AcceptedConnection) {
        let name = accepted.settings.name
        if let listener = listeners.first(where: { $0.settings.name == name }) {
            serve(accepted, listener)
            return
        }
        if let balance, let sender = accepted.sender, !accepted.isReturned {
            accepted.isReturned = true
            // The one that accepted it may drain by now.
            if balance.group.hand(accepted, to: sender) != nil { counters.connectionsRefused.add() }
        } else {
            counters.connectionsRefused.add()
        }
        countDown()
    }

    private func serve(_ accepted: consuming AcceptedConnection, _ listener: ListenerSocket) {
        guard let connection = listener.open(accepted) else {
            countDown()
            return
        }
        if isDraining { connection.drain() }
        guard let own = balance?.own else { return }
        let held = own.connections.load(ordering: .relaxed)
        if held > own.connectionsPeak.load(ordering: .relaxed) { own.connectionsPeak.store(held, ordering: .relaxed) }
    }

    private func countDown() {
        balance?.own.connections.subtract(1, ordering: .sequentiallyConsistent)
        if isDraining { finishDrainIfIdle() }
    }

    // MARK: Pools

    func takeExchange() -> Exchange { spareExchanges.popLast() ?? Exchange(worker: self, fieldCapacity: 128) }

    func give(_ exchange: Exchange) {
        exchange.recycle()
        if spareExchanges.count < 1024 { spareExchanges.append(exchange) }
    }

    /// Memory is short: gives back what is kept for exchanges to come.
    public func removeSpareMemory() {
        spareExchanges = []
        smallBuffers.removeSpare()
        largeBuffers.removeSpare()
        bulkBuffers.removeSpare()
    }

    /// Takes a connection's buffer back, whichever pool it came from; one that grew is freed.
    func recycle(_ buffer: consuming ByteBuffer) {
        if smallBuffers.fits(buffer) { smallBuffers.give(buffer) } else { largeBuffers.give(buffer) }
    }

    /// Appends `Date: …` with the present second, or that of a tenth of a second ago (RFC 9110 section 6.6.1).
    func appendDate(to buffer: inout ByteBuffer) {
        // The loop's time is known already; the calendar's costs a reading.
        if loop.now.nanoseconds >= dateEnds { readDate() }
        buffer.append(date)
    }

    private func readDate() {
        dateEnds = loop.now.nanoseconds + Worker.dateLife
        let now = currentEpochSeconds()
        guard now != dateSeconds else { return }
        dateSeconds = now
        date = Array("Date: \(CivilTime(epochSeconds: now).httpDate)\r\n".utf8)
    }

    /// In nanoseconds.
    private static let dateLife: UInt64 = 100_000_000
}

/// What one worker counts.
public struct WorkerCounters: Sendable {
    /// Connections accepted.
    public let connectionsAccepted: Counter
    /// Connections closed because a cap was reached.
    public let connectionsRefused: Counter
    /// Connections closed because memory was short.
    public let memoryConnections: Counter
    /// Exchanges ended because memory was used up.
    public let memoryExchanges: Counter
    /// Connections closed for the PROXY protocol's sake: a peer that is not listed, or no sound header.
    public let proxyHeadersRefused: Counter
    /// Connections that were given to a worker that held fewer.
    public let connectionsHandedOver: Counter
    /// Downstream connections open now.
    public let connectionsOpen: Gauge
    /// TLS handshakes that failed.
    public let handshakeFailures: Counter
    /// TLS handshakes that made room for others.
    public let handshakesDisplaced: Counter
    /// TLS handshakes that resumed a session.
    public let handshakesResumed: Counter
    /// Connections opened to upstreams.
    public let upstreamConnects: Counter
    /// Connects to upstreams that failed.
    public let upstreamConnectFailures: Counter
    /// Idle connections kept for reuse.
    public let upstreamConnectionsIdle: Gauge
    /// Connections that agreed on HTTP/2.
    public let http2Connections: Counter
    /// HTTP/2 connections that were ended because their client cost more than it may.
    public let http2ConnectionsEnded: Counter
    /// Request bodies that were gathered before an endpoint was chosen.
    public let requestsBuffered: Counter
    /// Answers of which a part waited here, because the client was slower than the endpoint.
    public let responsesBuffered: Counter
    /// Pieces of bodies that could not be written to their files, or read back.
    public let bodyFileErrors: Counter

    /// Of the family to which filters add the requests that they refuse.
    public static let shedHelp = "What was refused or ended because memory was short."

    /// Registers the instruments of one worker.
    public init(_ registry: MetricRegistry) {
        connectionsAccepted = registry.counter("connections_accepted_total", help: "Connections accepted.")
        connectionsRefused = registry.counter(
            "connections_refused_total", help: "Connections closed because a cap was reached.")
        func shed(_ what: String) -> Counter {
            registry.counter("memory_shed_total", help: WorkerCounters.shedHelp, labels: [("what", what)])
        }
        memoryConnections = shed("connection")
        memoryExchanges = shed("exchange")
        proxyHeadersRefused = registry.counter(
            "proxy_protocol_refused_total",
            help: "Connections closed because their peer is not listed, or sent no sound PROXY protocol header.")
        connectionsHandedOver = registry.counter(
            "connections_handed_over_total", help: "Connections given to a worker that held fewer.")
        connectionsOpen = registry.gauge("connections_open", help: "Downstream connections open now.")
        handshakeFailures = registry.counter("tls_handshake_failures_total", help: "TLS handshakes that failed.")
        handshakesDisplaced = registry.counter(
            "tls_handshakes_displaced_total", help: "TLS handshakes under way that were ended to make room for others.")
        handshakesResumed = registry.counter("tls_handshakes_resumed_total", help: "TLS handshakes that resumed.")
        upstreamConnects = registry.counter("upstream_connects_total", help: "Connections opened to upstreams.")
        upstreamConnectFailures = registry.counter(
            "upstream_connect_failures_total", help: "Connects to upstreams that failed.")
        upstreamConnectionsIdle = registry.gauge(
            "upstream_connections_idle", help: "Idle connections kept for reuse.")
        http2Connections = registry.counter(
            "http2_connections_total", help: "Connections that agreed on HTTP/2.")
        http2ConnectionsEnded = registry.counter(
            "http2_connections_ended_total", help: "HTTP/2 connections ended because their client cost too much.")
        requestsBuffered = registry.counter(
            "buffered_requests_total", help: "Request bodies gathered before an endpoint was chosen.")
        responsesBuffered = registry.counter(
            "buffered_responses_total", help: "Answers that waited here for clients slower than their endpoints.")
        bodyFileErrors = registry.counter(
            "body_file_errors_total", help: "Pieces of bodies that could not be written to files or read back.")
    }
}
