internal import EventLoop
internal import HTTPModel
internal import Telemetry

/// A connection that agreed on HTTP/2: moves bytes between its socket and its session, and each stream's events to the
/// stream. Made by `DownstreamConnection` when the handshake is over.
///
/// Whatever a turn of the loop gives the client is written at the turn's end, so that answers that come together leave in
/// as few records and system calls as they fit in.
final class HTTP2Connection: EventHandler, ServedConnection {
    let peer: IPAddress
    let peerPort: UInt16
    let handshake: HandshakeFacts?
    let listener: ListenerSocket
    let worker: Worker
    private let loop: EventLoop
    let session: HTTP2Session

    private enum State {
        case serving
        /// Our last byte is (being) sent; what still comes is thrown away, so that the client can read it.
        case lingering
        case closed
    }

    private var state = State.serving
    private var transport: Transport
    private let registration: Registration
    /// Among the connections of its address, until it is closed.
    private var place: ConnectionPlace?
    /// In the order of their numbers.
    private var streams: [DownstreamStream] = []
    private var spareStreams: [DownstreamStream] = []
    private var deadlines = HTTP2Deadlines()
    /// The socket may hold bytes that no event will announce again.
    private var canRead = true
    /// The end of input is behind the bytes that wait: no event will announce it again.
    private var endWaits = false
    private var isFlushDue = false
    /// No further request is wanted, by either side.
    private var isEnding = false
    private var lingeredBytes = 0
    /// When lingering is over, whatever still comes; in nanoseconds.
    private var lingerEnds: UInt64 = 0
    /// Of the session's memory, as it was last booked.
    private var bytesBooked = 0

    /// Takes over a connection whose handshake is done, with its registration; `nil`: there is no memory, and the
    /// connection is closed.
    init?(
        _ connection: DownstreamConnection, _ transport: consuming Transport, _ place: consuming ConnectionPlace?,
        _ registration: Registration
    ) {
        peer = connection.peer
        peerPort = connection.peerPort
        handshake = connection.handshake
        listener = connection.listener
        worker = connection.worker
        loop = worker.loop
        self.registration = registration
        var settings = listener.settings.http2
        settings.headBytesMax = listener.settings.headLimits.bytesMax
        settings.fieldsMax = listener.settings.headLimits.fieldsMax
        settings.memoryBytesMax = max(settings.memoryBytesMax, settings.concurrentStreamsMax * 160 << 10)
        let now = loop.now.nanoseconds
        guard let session = HTTP2Session(settings, at: now, spare: worker.spareHTTP2Memory) else { return nil }
        self.session = session
        self.transport = transport
        self.place = place
    }

    func start() {
        worker.counters.http2Connections.add()
        deadlines.idle = deadline(after: listener.settings.headTimeout)
        scheduleFlush()
        read()
        armDeadline()
    }

    // MARK: Events

    func ready(_ readiness: Readiness) {
        // Both directions have ended while the connection lingers: what the client sent before is still to be read.
        guard !readiness.contains(.error), !readiness.contains(.hangUp) || state == .lingering else {
            close(step: "connection")
            return
        }
        if readiness.contains(.writable) {
            guard transport.flush() else {
                close(step: "response.send")
                return
            }
            deadlines.output = transport.hasOutput ? deadline(after: listener.settings.bodyTimeout) : 0
            scheduleFlush()
        }
        if !readiness.isDisjoint(with: [.readable, .peerClosed]) {
            if readiness.contains(.peerClosed) { endWaits = true }
            canRead = true
        }
        read()
        armDeadline()
    }

    func deadlinePassed() {
        let now = loop.now.nanoseconds
        if deadlines.isOver(deadlines.linger, now) {
            close(step: "connection")
        } else if deadlines.isOver(deadlines.output, now) {
            close(step: "response.send")
        } else if deadlines.isOver(deadlines.head, now) {
            session.fail(HTTP2ErrorCode.enhanceYourCalm)
            scheduleFlush()
        } else if deadlines.isOver(deadlines.drain, now) {
            deadlines.drain = 0
            session.goAway()
            isEnding = true
            scheduleFlush()
            endIfIdle()
        } else if deadlines.isOver(deadlines.idle, now) {
            isEnding = true
            endIfIdle()
        }
        armDeadline()
    }

    // MARK: In

    private func read() {
        let piecesEnd = worker.piecesTaken + Worker.piecesPerTurn
        for _ in 0..<HTTP2Connection.readsPerTurn where worker.piecesTaken < piecesEnd {
            // Whoever does not read his answers sends no more requests either.
            guard canRead, state != .closed, !transport.hasOutput else { return }
            guard !MemoryAccount.isUsedUp else {
                worker.counters.memoryExchanges.add(UInt64(streams.count))
                close(step: "memory")
                return
            }
            var buffer = worker.largeBuffers.take()
            let result = transport.read(into: &buffer, minimumRoom: 16_384)
            if transport.isDrained, !endWaits { canRead = false }
            switch result {
            case .bytes(let count): state == .serving ? receive(buffer.bytes) : discard(count)
            case .wouldBlock: canRead = false
            case .closed:
                // What is under way is cut, and must not look as if it ended in order.
                if streams.isEmpty, !transport.hasOutput { transport.shutDownOutput() }
                close(step: "connection")
            case .failed: close(step: "connection")
            }
            worker.largeBuffers.give(buffer)
        }
        if canRead, state != .closed { loop.callAgain(registration) }
    }

    private func receive(_ bytes: Span<UInt8>) {
        var start = 0
        while start < bytes.count, state == .serving {
            let rest = bytes.extracting(start..<bytes.count)
            start += session.receive(rest, at: loop.now.nanoseconds)
            takeEvents(rest)
        }
        if !session.isReadingHead {
            deadlines.head = 0
        } else if deadlines.head == 0 {
            deadlines.head = deadline(after: listener.settings.headTimeout)
        }
        // Settings to acknowledge, pings to answer, windows to open.
        scheduleFlush()
    }

    private func takeEvents(_ bytes: Span<UInt8>) {
        while let event = session.nextEvent() {
            worker.piecesTaken += 1
            switch event {
            case .requestHead(let number, let endsStream, let isExtendedConnect):
                open(number).begin(endsStream: endsStream, isExtendedConnect: isExtendedConnect)
            case .refused(let number, let status): open(number).refuse(status)
            case .data(let number, let range): stream(number)?.received(bytes.extracting(range))
            case .lastByte(let number, let byte):
                let last: [1 of UInt8] = [byte]
                stream(number)?.received(last.span)
            case .trailers(let number): stream(number)?.trailersArrived(session.headBytes)
            case .endOfRequest(let number): stream(number)?.requestEnded()
            case .streamReset(let number, _): stream(number)?.wasReset()
            case .responseSent(let number): stream(number)?.responseSent()
            case .outputDrained(let number): stream(number)?.outputDrained()
            case .goAway: isEnding = true
            case .connectionError(let code): sessionEnded(code)
            case .glitch: break
            }
        }
    }

    private func discard(_ count: Int) {
        lingeredBytes += count
        deadlines.linger = min(lingerEnds, deadline(after: DownstreamConnection.lingerTimeout))
        if lingeredBytes > DownstreamConnection.lingerBytesMax { close(step: "connection") }
    }

    // MARK: Out

    /// Writes at the end of this turn of the loop what the session has by then.
    func scheduleFlush() {
        guard !isFlushDue, state != .closed else { return }
        isFlushDue = true
        worker.turnEnd.add(self)
    }

    /// Sends what the session has, as far as the socket takes it.
    func flush() {
        isFlushDue = false
        var rounds = 0
        while state != .closed, !transport.hasOutput {
            guard rounds < HTTP2Connection.writesPerTurn else {
                loop.callAgain(registration)
                return
            }
            rounds += 1
            var buffer = worker.largeBuffers.take()
            let count = session.produce(into: &buffer, max: 65_536)
            takeEvents(Span())
            let isSent = count == 0 || transport.write(buffer.bytes)
            worker.largeBuffers.give(buffer)
            guard isSent else {
                close(step: "response.send")
                return
            }
            if count == 0 { break }
        }
        guard state != .closed else { return }
        if transport.hasOutput {
            if deadlines.output == 0 { deadlines.output = deadline(after: listener.settings.bodyTimeout) }
        } else {
            deadlines.output = 0
            if session.isFinished { startLingering() } else { endIfIdle() }
        }
        if streams.isEmpty { session.trim() }
        bookMemory()
        armDeadline()
    }

    private func bookMemory() {
        let change = session.memoryHeld - bytesBooked
        guard abs(change) >= HTTP2Connection.bookedBytesMin else { return }
        MemoryAccount.add(change)
        bytesBooked += change
    }

    // MARK: Streams

    private func open(_ number: Int32) -> DownstreamStream {
        deadlines.idle = 0
        let stream = spareStreams.popLast() ?? DownstreamStream(self)
        stream.open(number, self)
        streams.append(stream)
        return stream
    }

    private func stream(_ number: Int32) -> DownstreamStream? { index(of: number).map { streams[$0] } }

    /// A stream's exchange is over, and nobody works on it any more.
    func finished(_ stream: DownstreamStream, number: Int32) {
        guard let index = index(of: number) else { return }
        streams.remove(at: index)
        spareStreams.append(stream)
        session.exchangeEnded(number)
        scheduleFlush()
        guard streams.isEmpty, state == .serving else { return }
        deadlines.idle = deadline(after: listener.settings.idleTimeout)
    }

    private func index(of number: Int32) -> Int? {
        var low = 0
        var high = streams.count
        while low < high {
            let middle = (low + high) / 2
            if streams[middle].number < number { low = middle + 1 } else { high = middle }
        }
        return low < streams.count && streams[low].number == number ? low : nil
    }

    /// Calls `body` with each exchange under way; it may cut the exchange.
    func forEachExchange(_ body: (Exchange) -> Void) {
        for stream in streams { if let exchange = stream.exchange { body(exchange) } }
    }

    func isUnderPolicy(of context: TLSContext?) -> Bool {
        guard let handshake, let context else { return false }
        return context.policies.contains { $0 == handshake.policy }
    }

    // MARK: Ends

    /// The gateway stops, or what the connection came under is over: the client is told, what it sends until it knows is
    /// served, and the connection ends with the last exchange (RFC 9113 section 6.8).
    func drain() {
        if lingerEnds > 0 { lingerEnds = min(lingerEnds, deadline(after: DownstreamConnection.lingerTimeout)) }
        guard state == .serving, deadlines.drain == 0, !isEnding else { return }
        session.announceEnd()
        deadlines.drain = deadline(after: HTTP2Connection.drainNotice)
        scheduleFlush()
        armDeadline()
    }

    private func endIfIdle() {
        guard isEnding, streams.isEmpty, state == .serving else { return }
        session.fail(HTTP2ErrorCode.noError)
        scheduleFlush()
    }

    /// The session serves nobody any more; what it has queued, above all GOAWAY, is still sent.
    private func sessionEnded(_ code: UInt32) {
        if code == HTTP2ErrorCode.enhanceYourCalm { worker.counters.http2ConnectionsEnded.add() }
        endStreams(step: "connection")
        scheduleFlush()
    }

    private func startLingering() {
        guard state == .serving else { return }
        endStreams(step: "connection")
        state = .lingering
        transport.shutDownOutput()
        deadlines = HTTP2Deadlines()
        deadlines.linger = deadline(after: DownstreamConnection.lingerTimeout)
        lingerEnds = worker.isDraining ? deadlines.linger : deadline(after: DownstreamConnection.lingerMax)
        canRead = true
        loop.callAgain(registration)
    }

    private func endStreams(step: String) {
        let ended = streams
        for stream in ended { stream.connectionEnded(step: step) }
    }

    private func close(step: String) {
        guard state != .closed else { return }
        state = .closed
        endStreams(step: step)
        for stream in spareStreams { stream.retire() }
        spareStreams = []
        MemoryAccount.add(-bytesBooked)
        bytesBooked = 0
        loop.end(registration)
        transport.close()
        place = nil
        listener.connectionClosed()
        worker.closed(self)
    }

    // MARK: Time

    private func deadline(after nanoseconds: UInt64) -> UInt64 { loop.now.nanoseconds &+ nanoseconds }

    private func armDeadline() {
        guard state != .closed else { return }
        if let next = deadlines.next {
            loop.setDeadline(MonotonicInstant(nanoseconds: next), for: registration)
        } else {
            loop.clearDeadline(for: registration)
        }
    }

    /// Between the word that the connection will end and its end: longer than a round trip.
    private static let drainNotice: UInt64 = 1_000_000_000
    private static let readsPerTurn = 16
    /// Smaller changes of its memory are not worth telling other threads.
    private static let bookedBytesMin = 8192
    private static let writesPerTurn = 16
}

/// When a connection's waits are over, in nanoseconds; zero: it does not wait for that.
private struct HTTP2Deadlines {
    /// The client takes none of what waits in the socket.
    var output: UInt64 = 0
    /// No stream is open. Nothing but a request moves it.
    var idle: UInt64 = 0
    /// A head has begun and is not complete.
    var head: UInt64 = 0
    /// The client was told that the connection will end.
    var drain: UInt64 = 0
    /// The connection is over, and the client may read its last bytes.
    var linger: UInt64 = 0

    var next: UInt64? {
        // One below zero is the greatest.
        let first = min(output &- 1, idle &- 1, head &- 1, min(drain &- 1, linger &- 1))
        return first == .max ? nil : first &+ 1
    }

    func isOver(_ deadline: UInt64, _ now: UInt64) -> Bool { deadline > 0 && deadline <= now }
}
