internal import EventLoop
internal import HTTPModel
internal import Telemetry

/// A connection to one endpoint: connects, sends a request, reads the answer strictly, and waits for the next one.
final class UpstreamConnection: EventHandler {
    private enum State {
        case connecting, idle, readingHead, readingBody, tunnel, closed
    }

    let endpoint: Int
    private let pool: UpstreamPool
    private let worker: Worker
    // The worker's: what is reached through another reference costs a count of references each time.
    private let loop: EventLoop
    private let buffers: ByteBufferPool
    private var transport: Transport
    private var registration = Registration.none
    private var state = State.connecting
    private var exchange: Exchange?
    private var head: ResponseHead
    private var body = BodyReader()
    /// Bytes read and not yet understood: an unfinished head, or an unfinished chunk line.
    private var input = ByteBuffer()
    private var canRead = false
    private var hasServed = false
    /// The request is sent when the turn ends.
    private var isRequestDue = false
    /// A byte of the present answer has come.
    private var answerBegan = false
    /// The endpoint does not take the request any more; its answer may still come.
    private var sendFailed = false
    private var sawEnd = false
    /// The end of input is behind the bytes that wait: no event will announce it again.
    private var endWaits = false

    init(_ transport: consuming Transport, pool: UpstreamPool, endpoint: Int, worker: Worker) {
        self.transport = transport
        self.pool = pool
        self.endpoint = endpoint
        self.worker = worker
        loop = worker.loop
        buffers = worker.largeBuffers
        head = ResponseHead(fieldCapacity: pool.settings.headLimits.fieldsMax)
        MemoryAccount.add(UpstreamConnection.bytesEstimate)
    }

    deinit { MemoryAccount.add(-UpstreamConnection.bytesEstimate) }

    func start() -> Bool {
        do throws(SystemError) {
            registration = try loop.register(transport.number, handler: self)
            return true
        } catch {
            state = .closed
            return false
        }
    }

    /// Takes an exchange, sends its request as soon as the connection stands.
    func serve(_ exchange: Exchange) {
        self.exchange = exchange
        exchange.upstream = self
        answerBegan = false
        sendFailed = false
        head.reset()
        if state == .connecting {
            setDeadline(pool.settings.connectTimeout)
        } else {
            state = .readingHead
            send(exchange)
        }
    }

    private func send(_ exchange: Exchange) {
        // Of an endpoint that was tried before this one.
        exchange.error = nil
        // Now: the deadline of a connection that was kept may pass in this turn.
        setDeadline(pool.settings.firstByteTimeout)
        isRequestDue = true
        if loop.hasCompany { worker.turnEnd.add(self) } else { sendRequest() }
    }

    /// Sends the request that this turn brought, unless its exchange is over.
    func sendRequest() {
        guard isRequestDue, let exchange else { return }
        isRequestDue = false
        exchange.sentAt = loop.now
        if !exchange.outgoing.withBytes({ transport.write($0) }) {
            sendFailed = true
            canRead = true
            pump()
            return
        }
        // All of it is kept where it may have to be sent again: there is no more of it.
        guard !exchange.isReplayable else { return }
        exchange.outgoing.removeAll()
        exchange.downstream?.upstreamTakesMore()
    }

    // MARK: The request's way

    /// Whether more of the request body may be given to `write`.
    var takesMore: Bool {
        (state == .readingHead || state == .readingBody) && !isRequestDue && !sendFailed && !transport.hasOutput
    }

    /// Whether the request body is of no more use to the endpoint.
    var refusesMore: Bool { sendFailed || state == .closed }

    /// Sends more of the request; what the socket does not take waits here.
    func write(_ bytes: Span<UInt8>) {
        if !transport.write(bytes) {
            sendFailed = true
            canRead = true
            loop.callAgain(registration)
            return
        }
        setDeadline(state == .tunnel ? pool.settings.idleTimeout : pool.settings.firstByteTimeout)
    }

    // MARK: Events

    /// Whether an idle connection has something to say, which can be no answer. Readiness tells it, as new as the turn;
    /// when many handlers have run meanwhile, the kernel is asked. To ask it each time would cost a plain exchange four
    /// hundredths of its time, and what comes a moment later could not be told from an answer anyway.
    var hasSpoken: Bool {
        loop.handlersRun >= UpstreamConnection.handlersBeforeLook && transport.hasInput()
    }

    /// An idle connection: what it has to say is no answer to a request that is about to be written to it.
    var goesFirst: Bool { state == .idle }

    func ready(_ readiness: Readiness) {
        if state == .connecting {
            connectEnded()
            return
        }
        if isRequestDue {
            // Nothing was asked yet: what a kept connection says now is no answer.
            guard !hasServed || !transport.hasInput() else {
                moveToFreshConnection()
                return
            }
            sendRequest()
        }
        if readiness.contains(.writable), transport.hasOutput {
            if !transport.flush() {
                sendFailed = true
            } else if !transport.hasOutput {
                exchange?.downstream?.upstreamTakesMore()
            }
        }
        guard !readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) else { return }
        if !readiness.isDisjoint(with: [.peerClosed, .hangUp, .error]) { endWaits = true }
        canRead = true
        pump()
    }

    func deadlinePassed() {
        switch state {
        case .connecting: connectFailed(timedOut: true)
        case .idle:
            pool.forget(self)
            close()
        case .readingHead: waitsForDownstream ? extendDeadline() : failExchange("response.first_byte", status: 504)
        case .readingBody: waitsForDownstream ? extendDeadline() : failExchange("response.body", status: 504)
        case .tunnel, .closed: break
        }
    }

    /// The client has to move first, by its own deadlines: to send more of the request, or to take more of the answer.
    private var waitsForDownstream: Bool {
        guard let exchange, let downstream = exchange.downstream else { return false }
        if let body = exchange.bufferedResponse { return !body.takesMore }
        return downstream.hasOutput || (!answerBegan && !downstream.requestHasArrived && takesMore)
    }

    private func extendDeadline() {
        setDeadline(state == .readingHead ? pool.settings.firstByteTimeout : pool.settings.idleTimeout)
    }

    private func connectEnded() {
        guard transport.takeSocketError() == 0 else {
            connectFailed(timedOut: false)
            return
        }
        guard let exchange else {
            close()
            return
        }
        state = .readingHead
        send(exchange)
    }

    private func connectFailed(timedOut: Bool) {
        pool.addressFailed(endpoint: endpoint)
        let exchange = detach()
        close()
        if let exchange { pool.connectFailed(exchange, endpoint: endpoint, timedOut: timedOut) }
    }

    // MARK: The answer's way

    /// Reads on, as far as the downstream takes it.
    func pump() {
        let piecesEnd = worker.piecesTaken + Worker.piecesPerTurn
        var bytesLeft = UpstreamConnection.readsPerTurn * buffers.bufferCapacity
        while bytesLeft > 0, worker.piecesTaken < piecesEnd {
            guard canRead, state != .closed else { return }
            if MemoryAccount.isUsedUp, let downstream = exchange?.downstream {
                worker.counters.memoryExchanges.add()
                downstream.fail(ExchangeError(side: .gateway, step: "memory", status: 503))
                return
            }
            if state == .tunnel {
                exchange?.downstream?.pumpTunnelFromUpstream()
                return
            }
            if state == .idle {
                // Readiness may be of bytes that the reading of the last answer took already.
                guard endWaits || transport.hasInput() else {
                    canRead = false
                    return
                }
                // Whatever an idle connection has to say, it is no answer: its end, or bytes nobody asked for.
                pool.forget(self)
                close()
                return
            }
            if let exchange, !mayRead(exchange) { return }
            var buffer = takeBuffer()
            switch transport.read(into: &buffer, minimumRoom: 4096) {
            case .bytes(let byteCount):
                bytesLeft -= max(byteCount, buffers.bufferCapacity)
                if transport.isDrained, !endWaits { canRead = false }
                received(&buffer)
                keep(buffer)
            case .wouldBlock:
                canRead = false
                keep(buffer)
            case .closed:
                keep(buffer)
                sawEnd = true
                canRead = false
                endOfInput()
                return
            case .failed:
                keep(buffer)
                sawEnd = true
                canRead = false
                failExchange(state == .readingHead ? "response.head" : "response.body", status: 502)
                return
            }
        }
        if canRead, state != .closed { loop.callAgain(registration) }
    }

    /// Whether the client, or a buffer between the two, takes more of the answer.
    private func mayRead(_ exchange: Exchange) -> Bool {
        if let body = exchange.bufferedResponse { return body.takesMore }
        guard exchange.downstream?.hasOutput == true else { return true }
        guard let buffering = exchange.responseBuffering, state == .readingBody else { return false }
        exchange.bufferedResponse = BufferedBody(buffering, of: exchange)
        worker.counters.responsesBuffered.add()
        return true
    }

    /// Sends bytes of the answer, or puts them behind those that wait for the client.
    private func pass(_ bytes: Span<UInt8>, _ exchange: Exchange, _ downstream: any DownstreamSide) {
        guard let body = exchange.bufferedResponse else {
            downstream.send(bytes)
            return
        }
        body.append(bytes)
        downstream.sendBufferedResponse(exchange, body)
    }

    /// The buffer for the next read: a larger one for the midst of a long body that fills the usual one and does not
    /// have to wait for its client.
    private func takeBuffer() -> ByteBuffer {
        if input.hasMemory { return input.take() }
        guard state == .readingBody, !transport.isDrained, body.isBare else { return buffers.take() }
        let bulk = worker.bulkBuffers
        guard body.readableMax >= bulk.bufferCapacity, let exchange, exchange.bufferedResponse == nil,
            let downstream = exchange.downstream, downstream.hasRoom(for: bulk.bufferCapacity)
        else { return buffers.take() }
        return bulk.take()
    }

    private func keep(_ buffer: consuming ByteBuffer) {
        if !buffer.isEmpty {
            input = buffer
        } else if buffers.fits(buffer) {
            buffers.give(buffer)
        } else {
            worker.bulkBuffers.give(buffer)
        }
    }

    private func received(_ buffer: inout ByteBuffer) {
        guard let exchange else { return }
        let isContinuedHead = answerBegan && state == .readingHead
        if !answerBegan {
            answerBegan = true
            exchange.firstByteAt = loop.now
            exchange.isReplayable = false
        }
        // A head has this long from its first byte to its last, however it drips.
        if !isContinuedHead { setDeadline(pool.settings.idleTimeout) }
        if state == .readingHead { readHead(exchange, &buffer) }
        if state == .readingBody { readBody(exchange, &buffer) }
    }

    private func readHead(_ exchange: Exchange, _ buffer: inout ByteBuffer) {
        while state == .readingHead, !buffer.isEmpty {
            let byteCount: Int
            switch head.parse(buffer.bytes, limits: pool.settings.headLimits) {
            case .incomplete: return
            case .failed:
                buffer.removeAll()
                failExchange("response.head", status: 502)
                return
            case .complete(let count): byteCount = count
            }
            if head.status == 101 {
                switchProtocols(exchange, &buffer, byteCount)
                return
            }
            if head.status < 200 {
                head.markHopByHop(in: buffer.bytes)
                // An interim answer says nothing about cookies, least of all about the gateway's own.
                for index in 0..<head.fields.count where head.fields[index].known == .setCookie {
                    head.fields[index].isDropped = true
                }
                exchange.downstream?.sendInterim(head, buffer.bytes)
                buffer.consume(byteCount)
                head.reset()
                continue
            }
            startBody(exchange, &buffer, byteCount)
        }
    }

    private func startBody(_ exchange: Exchange, _ buffer: inout ByteBuffer, _ headByteCount: Int) {
        guard let downstream = exchange.downstream else { return }
        guard exchange.handshakeKey.isEmpty || head.status >= 300 else {
            // On the client's stream it would say that the WebSocket is open.
            buffer.removeAll()
            failExchange("response.upgrade", status: 502)
            return
        }
        let framing = head.framing(requestMethod: exchange.head.method)
        body = BodyReader(framing, extensionBytesMax: UpstreamConnection.extensionBytesMax)
        if exchange.trailers != nil { body.keepTrailers() }
        head.markHopByHop(in: buffer.bytes)
        if exchange.responseBuffering != nil, !BufferingFields.obey(&head, buffer.bytes) {
            exchange.responseBuffering = nil
        }
        exchange.filter.responseArrived(exchange, head: &head, bytes: buffer.bytes)
        // An answer without a date gets one on its way (RFC 9110 section 6.6.1).
        if head.firstIndex(of: .date) == nil { worker.appendDate(to: &exchange.responseFields) }
        var build = buffers.take()
        downstream.writeHead(head, buffer.bytes, framing, of: exchange, into: &build)
        buffer.consume(headByteCount)
        state = .readingBody
        guard moveBody(exchange, downstream, &buffer, into: &build) else {
            buffers.give(build)
            // Nothing of it has been sent yet.
            downstream.forgetHead()
            failExchange("response.body", status: 502)
            return
        }
        if body.isFinished { downstream.appendEnd(into: &build) }
        pass(build.bytes, exchange, downstream)
        buffers.give(build)
        if body.isFinished { finished(leftover: !buffer.isEmpty) }
    }

    private func readBody(_ exchange: Exchange, _ buffer: inout ByteBuffer) {
        guard let downstream = exchange.downstream, !buffer.isEmpty else { return }
        if downstream.passesBodyUnchanged, body.isBare, body.readableMax >= buffer.count {
            let (consumed, event) = body.next(buffer.bytes)
            guard case .data = event else { return }
            exchange.responseBodyBytes &+= UInt64(consumed)
            pass(buffer.bytes, exchange, downstream)
            buffer.removeAll()
        } else {
            var build = buffers.take()
            let isLawful = moveBody(exchange, downstream, &buffer, into: &build)
            if isLawful, body.isFinished { downstream.appendEnd(into: &build) }
            if isLawful, !build.isEmpty { pass(build.bytes, exchange, downstream) }
            buffers.give(build)
            guard isLawful else {
                failExchange("response.body", status: 502)
                return
            }
        }
        if body.isFinished { finished(leftover: !buffer.isEmpty) }
    }

    /// Moves what is body into `build` with the downstream's framing; `false` when the endpoint broke its own.
    private func moveBody(
        _ exchange: Exchange, _ downstream: any DownstreamSide, _ buffer: inout ByteBuffer,
        into build: inout ByteBuffer
    ) -> Bool {
        var pieces: UInt64 = 0
        defer { worker.piecesTaken += pieces }
        while true {
            let (consumed, event) = body.next(buffer.bytes)
            pieces += 1
            switch event {
            case .data(let range):
                exchange.responseBodyBytes &+= UInt64(range.count)
                downstream.appendBody(buffer.bytes, range, into: &build)
                buffer.consume(consumed)
                if body.isFinished { return true }
            case .trailers(let range):
                exchange.responseTrailers.append(buffer.bytes, range)
                buffer.consume(consumed)
            case .needMore:
                buffer.consume(consumed)
                return true
            case .finished:
                buffer.consume(consumed)
                return true
            case .failed:
                buffer.removeAll()
                return false
            }
        }
    }

    private func endOfInput() {
        switch state {
        case .idle:
            pool.forget(self)
            close()
        case .readingHead:
            if !answerBegan, retryOnFreshConnection() { return }
            failExchange("response.head", status: 502)
        case .readingBody:
            guard body.closed(), let exchange, let downstream = exchange.downstream else {
                failExchange("response.body", status: 502)
                return
            }
            var build = buffers.take()
            downstream.appendEnd(into: &build)
            if !build.isEmpty { pass(build.bytes, exchange, downstream) }
            buffers.give(build)
            finished(leftover: false)
        case .tunnel: exchange?.downstream?.tunnelEnded()
        case .connecting, .closed: break
        }
    }

    /// A kept connection that the endpoint closed while we wrote to it: once more, on a new one, where that is safe.
    private func retryOnFreshConnection() -> Bool {
        guard hasServed, let exchange, exchange.isReplayable, exchange.retries == 0 else { return false }
        exchange.retries += 1
        moveToFreshConnection()
        return true
    }

    private func moveToFreshConnection() {
        let exchange = detach()
        close()
        if let exchange { pool.assign(exchange, fresh: true) }
    }

    private func finished(leftover: Bool) {
        guard let exchange = detach() else { return }
        let downstream = exchange.downstream
        let mayServeAgain =
            head.keepsAlive && !leftover && !sendFailed && !sawEnd && !endWaits && !transport.hasOutput
            && downstream?.requestIsComplete == true
        hasServed = true
        if mayServeAgain {
            state = .idle
            head.reset()
            if pool.park(self) {
                setDeadline(pool.settings.keepAliveTimeout)
            } else {
                close()
            }
        } else {
            close()
        }
        if exchange.endpointHeld >= 0 { exchange.giveBackPlace() }
        if let body = exchange.bufferedResponse {
            body.isWhole = true
            downstream?.sendBufferedResponse(exchange, body)
        } else {
            downstream?.responseEnded()
        }
    }

    private func failExchange(_ step: String, status: Int) {
        if step == "response.head", !answerBegan, retryOnFreshConnection() { return }
        let exchange = detach()
        close()
        exchange?.downstream?.fail(ExchangeError(side: .upstream, step: step, status: status))
    }

    // MARK: Tunnel

    private func switchProtocols(_ exchange: Exchange, _ buffer: inout ByteBuffer, _ byteCount: Int) {
        guard let downstream = exchange.downstream, exchange.isWebSocketHandshake, downstream.requestIsComplete,
            head.minorVersion > 0, upgradeFieldCount == 1, WebSocketUpgrade.isNamed(by: head.upgrade, in: buffer.bytes),
            exchange.handshakeKey.isEmpty || WebSocketUpgrade.accepts(exchange.handshakeKey, head, buffer.bytes)
        else {
            buffer.removeAll()
            failExchange("response.upgrade", status: 502)
            return
        }
        exchange.filter.responseArrived(exchange, head: &head, bytes: buffer.bytes)
        state = .tunnel
        loop.clearDeadline(for: registration)
        downstream.startTunnel(head, buffer.bytes, byteCount)
        buffer.removeAll()
    }

    private var upgradeFieldCount: Int {
        var count = 0
        for index in 0..<head.fields.count where head.fields[index].known == .upgrade { count += 1 }
        return count
    }

    /// Reads what a tunnel's endpoint sent; the downstream sends it on.
    func readTunnel(into buffer: inout ByteBuffer) -> IOResult {
        guard canRead else { return .wouldBlock }
        let result = transport.read(into: &buffer, minimumRoom: 16_384)
        switch result {
        case .bytes: if transport.isDrained, !endWaits { canRead = false }
        case .wouldBlock: canRead = false
        case .closed, .failed: sawEnd = true
        }
        return result
    }

    func callAgain() { loop.callAgain(registration) }

    /// Bytes of a tunnel wait for the endpoint to take them.
    var hasOutput: Bool { transport.hasOutput }

    // MARK: Ends

    /// The exchange is over for another reason: the connection is of no more use.
    func abandon() {
        _ = detach()
        close()
    }

    /// Closes a connection that the pool has already let go of.
    func closeIdle() { close() }

    private func detach() -> Exchange? {
        let exchange = self.exchange
        self.exchange = nil
        exchange?.upstream = nil
        return exchange
    }

    private func close() {
        guard state != .closed else { return }
        state = .closed
        loop.end(registration)
        worker.recycle(input.take())
        transport.close()
    }

    private func setDeadline(_ nanoseconds: UInt64) {
        loop.setDeadline(loop.now.advanced(byNanoseconds: nanoseconds), for: registration)
    }

    /// Some tenths of a millisecond.
    private static let handlersBeforeLook = 32
    /// Reads in one go before others have their turn; one of a larger buffer counts as several.
    private static let readsPerTurn = 16
    private static let extensionBytesMax = 4096
    /// Without its buffers, which are counted themselves.
    private static let bytesEstimate = 4096
}
