internal import EventLoop
internal import HTTPModel

/// One stream of an HTTP/2 connection, for as long as an exchange works on it; its connection keeps it for later ones.
///
/// `input` holds the head, as HTTP/1.1 text, then body bytes; what comes while the head is needed waits in `arrived`.
/// A client gets window for body bytes when they have gone on, so that each stream holds no more than its window.
final class DownstreamStream: DownstreamSide, EventHandler {
    let peer: IPAddress
    let peerPort: UInt16
    let isSecure = true
    let handshake: HandshakeFacts?
    let listener: ListenerSocket
    let worker: Worker
    let loop: EventLoop
    var state = DownstreamState.closed
    var input = ByteBuffer()
    var exchange: Exchange?
    var headByteCount = 0
    var requestBody = BodyReader()
    var responseFraming: ResponseFraming?
    private(set) var number: Int32 = 0

    /// `nil` between two exchanges.
    private var connection: HTTP2Connection?
    private var registration = Registration.none
    private var arrived = ByteBuffer()
    /// Body bytes for which the client has not been given window again.
    private var bytesOwed = 0
    private var bytesSinceDeadline = 0
    private var hasRequestEnded = false
    /// A request that declares an empty body and does not end: what it is shows at its end.
    private var beginsAtEnd = false
    private var isHeadReady = false
    private var isAnswered = false
    /// The client does not take bytes any more; noticed while the upstream was being read.
    private var sendFailed = false
    /// What waited for the client when the deadline was set: less of it is progress.
    private var outputAtDeadline = 0
    private var isAdvancing = false

    init(_ connection: HTTP2Connection) {
        peer = connection.peer
        peerPort = connection.peerPort
        handshake = connection.handshake
        listener = connection.listener
        worker = connection.worker
        loop = worker.loop
        registration = loop.register(handler: self)
    }

    /// The connection is gone.
    func retire() { loop.end(registration) }

    // MARK: The request

    func open(_ number: Int32, _ connection: HTTP2Connection) {
        self.number = number
        self.connection = connection
        let exchange = worker.takeExchange()
        self.exchange = exchange
        exchange.begin(on: self)
        exchange.isHTTP2 = true
        state = .readingHead
        responseFraming = nil
        bytesOwed = 0
        bytesSinceDeadline = 0
        hasRequestEnded = false
        beginsAtEnd = false
        isHeadReady = false
        isAnswered = false
        sendFailed = false
    }

    /// The session has the head of a request.
    func begin(endsStream: Bool, isExtendedConnect: Bool) {
        guard let exchange, let connection else { return }
        hasRequestEnded = endsStream
        input = worker.smallBuffers.take()
        if let error = connection.session.readHead(
            number, into: &input, as: &exchange.head, limits: listener.settings.headLimits)
        {
            refuse(error.status)
            return
        }
        headByteCount = input.count
        if isExtendedConnect { exchange.handshakeKey = WebSocketUpgrade.makeKey() }
        if !endsStream, !isExtendedConnect, exchange.head.framing == .length(0) {
            // No upstream may take it for whole, as it would, before it is known not to bring more than it declares.
            beginsAtEnd = true
            exchange.startedAt = loop.now
            setDeadline(listener.settings.headTimeout)
            return
        }
        begin(exchange)
    }

    /// The request is well-formed, and is not served.
    func refuse(_ status: Int) {
        exchange?.startedAt = loop.now
        headByteCount = 0
        fail(ExchangeError(side: .downstream, step: "request.head", status: status))
    }

    func makeBodyReader(_ exchange: Exchange) -> BodyReader {
        hasRequestEnded || !exchange.handshakeKey.isEmpty || exchange.head.framing == .none
            ? BodyReader() : .untilEnd()
    }

    /// Body bytes, or a tunnel's.
    func received(_ bytes: Span<UInt8>) {
        bytesOwed += bytes.count
        switch state {
        case .deciding, .exchanging:
            guard exchange?.handshakeKey.isEmpty == true else {
                // The endpoint could take it for anything before it has agreed to the tunnel.
                fail(ExchangeError(side: .downstream, step: "request.upgrade", status: 400))
                return
            }
            keep(bytes)
            noteProgress(bytes.count)
        case .tunnel: keep(bytes)
        case .handshaking, .readingHead, .lingering, .closed: break
        }
        advance()
    }

    private func keep(_ bytes: Span<UInt8>) {
        if !arrived.hasMemory { arrived = worker.largeBuffers.take() }
        arrived.append(bytes)
    }

    private func noteProgress(_ byteCount: Int) {
        bytesSinceDeadline += byteCount
        guard bytesSinceDeadline >= listener.settings.bodyProgressBytes, state == .exchanging else { return }
        bytesSinceDeadline = 0
        setDeadline(listener.settings.bodyTimeout)
    }

    /// The trailers, as field lines.
    func trailersArrived(_ lines: borrowing ByteBuffer) {
        guard let exchange, exchange.trailers != nil else { return }
        exchange.requestTrailers.append(contentsOf: lines)
    }

    /// The client has sent all of its request.
    func requestEnded() {
        hasRequestEnded = true
        if beginsAtEnd, state == .readingHead, let exchange {
            begin(exchange)
        } else {
            requestBody.endArrived()
            advance()
        }
    }

    func readBody() -> Bool {
        if arrived.isEmpty { return hasRequestEnded }
        swap(&input, &arrived)
        worker.recycle(arrived.take())
        return true
    }

    func advance() {
        guard !isAdvancing else { return }
        isAdvancing = true
        while state == .exchanging, moveRequestBody() {}
        if state == .tunnel { pumpTunnelFromDownstream() }
        isAdvancing = false
        settleWindow()
    }

    /// Gives the client as much window as bytes have gone on.
    private func settleWindow() {
        let held = arrived.count + (headByteCount > 0 ? 0 : input.count)
        guard let connection, bytesOwed > held else { return }
        connection.session.consume(number, bytesOwed - held)
        bytesOwed = held
        connection.scheduleFlush()
    }

    // MARK: The answer of an upstream

    var hasOutput: Bool { connection?.session.takesMore(number) == false }

    /// A stream has the window that its client gives, which is rarely more than one read.
    func hasRoom(for byteCount: Int) -> Bool { false }

    var passesBodyUnchanged: Bool {
        switch responseFraming {
        case .length, .untilClose, .chunked: true
        case .some(.none), nil: false
        }
    }

    func writeHead(
        _ head: borrowing ResponseHead, _ bytes: Span<UInt8>, _ framing: ResponseFraming, of exchange: Exchange,
        into build: inout ByteBuffer
    ) {
        guard let connection else { return }
        exchange.status = head.status
        responseFraming = framing
        isHeadReady = exchange.responseFields.withBytes {
            connection.session.prepareHead(number, head, bytes, adding: $0)
        }
        if !isHeadReady { sendFailed = true }
    }

    func forgetHead() {
        responseFraming = nil
        isHeadReady = false
    }

    func appendBody(_ bytes: Span<UInt8>, _ range: Range<Int>, into build: inout ByteBuffer) {
        if passesBodyUnchanged { build.append(bytes, range) }
    }

    /// The stream's end says it.
    func appendEnd(into build: inout ByteBuffer) {}

    func send(_ bytes: Span<UInt8>) {
        guard let connection else { return }
        if isHeadReady {
            isHeadReady = false
            switch responseFraming {
            case .some(.none), .length(0): isAnswered = true
            case .length, .chunked, .untilClose, nil: break
            }
            if !connection.session.submitHead(number, endsStream: isAnswered) { sendFailed = true }
        }
        if !sendFailed, !isAnswered, !connection.session.write(number, bytes, endsStream: false) { sendFailed = true }
        if sendFailed {
            // Not from within the upstream's reading: it is told when its turn is over.
            loop.callAgain(registration)
            return
        }
        connection.scheduleFlush()
        if hasOutput { awaitClient() }
    }

    func sendInterim(_ head: borrowing ResponseHead, _ bytes: Span<UInt8>) {
        guard let connection, responseFraming == nil else { return }
        _ = connection.session.respond(number, head, bytes, adding: Span(), endsStream: false)
        connection.scheduleFlush()
    }

    func sendContinue() {
        guard let connection else { return }
        _ = connection.session.respondContinue(number)
        connection.scheduleFlush()
    }

    func responseEnded() {
        guard exchange != nil, let connection else { return }
        if !sendFailed, !isAnswered, !end(connection) { sendFailed = true }
        guard !sendFailed else {
            abort(ExchangeError(side: .downstream, step: "response.send", status: 0))
            return
        }
        linger()
    }

    /// Ends the answer, with the trailers that are passed on; `false`: the stream takes nothing any more.
    private func end(_ connection: HTTP2Connection) -> Bool {
        if let exchange, !exchange.responseTrailers.isEmpty {
            var lines = worker.smallBuffers.take()
            exchange.appendResponseTrailers(to: &lines)
            let isTaken = lines.isEmpty || connection.session.holdTrailers(number, lines.bytes)
            worker.smallBuffers.give(lines)
            guard isTaken else { return false }
        }
        return connection.session.write(number, Span(), endsStream: true)
    }

    /// The last byte of the answer was written.
    func responseSent() {
        guard let exchange, state == .lingering else { return }
        endExchange(exchange)
        finish()
    }

    /// The client has taken so much of what waited that there is room for more.
    func outputDrained() {
        switch state {
        case .exchanging:
            requestBody.isFinished ? clearDeadline() : setDeadline(listener.settings.bodyTimeout)
            clientTakesMore()
        case .tunnel:
            setDeadline(listener.settings.tunnelIdleTimeout)
            pumpTunnelFromUpstream()
        case .lingering: awaitClient()
        case .handshaking, .readingHead, .deciding, .closed: break
        }
    }

    // MARK: Answers of ours

    func respond(_ response: LocalResponse) {
        guard let exchange, let connection, responseFraming == nil else { return }
        let isHead = exchange.head.method == .head
        consumeHead()
        exchange.status = response.status
        responseFraming = .length(UInt64(response.body.count))
        var lines = worker.smallBuffers.take()
        worker.appendDate(to: &lines)
        lines.append(contentsOf: exchange.responseFields)
        let isSent = connection.session.respond(number, response, adding: lines.bytes, isHead: isHead)
        worker.smallBuffers.give(lines)
        guard isSent else {
            abort(ExchangeError(side: .downstream, step: "response.send", status: 0))
            return
        }
        if !isHead { exchange.responseBodyBytes = UInt64(response.body.count) }
        linger()
    }

    /// The whole answer waits to be taken; what still comes of the request serves nobody.
    private func linger() {
        state = .lingering
        worker.recycle(input.take())
        worker.recycle(arrived.take())
        settleWindow()
        awaitClient()
        connection?.scheduleFlush()
    }

    private func awaitClient() {
        outputAtDeadline = connection?.session.pendingOutput(number) ?? 0
        setDeadline(listener.settings.bodyTimeout)
    }

    // MARK: Upgraded

    /// A tunnel within the stream (RFC 8441).
    func startTunnel(_ head: borrowing ResponseHead, _ bytes: Span<UInt8>, _ headByteCount: Int) {
        guard let exchange, let connection else { return }
        exchange.status = 200
        exchange.wasUpgraded = true
        responseFraming = ResponseFraming.none
        state = .tunnel
        setDeadline(listener.settings.tunnelIdleTimeout)
        let isOpen = exchange.responseFields.withBytes {
            connection.session.respond(number, head, bytes, adding: $0, endsStream: false)
        }
        let early = bytes.extracting(headByteCount..<bytes.count)
        if !isOpen || early.count > 0 && !connection.session.write(number, early, endsStream: false) {
            sendFailed = true
        }
        connection.scheduleFlush()
        loop.callAgain(registration)
    }

    private func pumpTunnelFromDownstream() {
        guard let exchange, let upstream = exchange.upstream, !upstream.hasOutput else { return }
        if !arrived.isEmpty {
            exchange.requestBodyBytes &+= UInt64(arrived.count)
            setDeadline(listener.settings.tunnelIdleTimeout)
            arrived.withBytes { upstream.write($0) }
            worker.recycle(arrived.take())
        }
        if hasRequestEnded, !upstream.hasOutput { tunnelEnded() }
    }

    func pumpTunnelFromUpstream() {
        guard let exchange, let connection, let upstream = exchange.upstream else { return }
        var buffer = worker.largeBuffers.take()
        defer { worker.largeBuffers.give(buffer.take()) }
        for _ in 0..<16 {
            guard state == .tunnel, !hasOutput, !sendFailed else { return }
            buffer.removeAll()
            switch upstream.readTunnel(into: &buffer) {
            case .bytes(let count):
                exchange.responseBodyBytes &+= UInt64(count)
                setDeadline(listener.settings.tunnelIdleTimeout)
                send(buffer.bytes)
                connection.scheduleFlush()
            case .wouldBlock: return
            case .closed, .failed:
                tunnelEnded()
                return
            }
        }
        upstream.callAgain()
    }

    func tunnelEnded() {
        guard state == .tunnel, let exchange, let connection else { return }
        exchange.upstream?.abandon()
        guard connection.session.write(number, Span(), endsStream: true) else {
            abort(ExchangeError(side: .downstream, step: "response.send", status: 0))
            return
        }
        linger()
    }

    // MARK: Events

    /// Called again after a failure to send, or for what a tunnel's endpoint may have sent already.
    func ready(_ readiness: Readiness) {
        if sendFailed {
            abort(ExchangeError(side: .downstream, step: "response.send", status: 0))
        } else if state == .tunnel {
            pumpTunnelFromUpstream()
            advance()
        }
    }

    func deadlinePassed() {
        switch state {
        case .readingHead: fail(ExchangeError(side: .downstream, step: "request.head", status: 408))
        case .deciding: fail(ExchangeError(side: .gateway, step: "decide", status: 503))
        case .exchanging:
            if hasOutput {
                abortUnlessTaken()
            } else if isHeldUp {
                setDeadline(listener.settings.bodyTimeout)
            } else if !requestBody.isFinished {
                fail(ExchangeError(side: .downstream, step: "request.body", status: 408))
            } else if exchange?.handlerTask != nil {
                fail(ExchangeError(side: .gateway, step: "handler", status: 503))
            }
        case .tunnel:
            exchange?.error = ExchangeError(side: .downstream, step: "tunnel.idle", status: 0)
            tunnelEnded()
        case .lingering: abortUnlessTaken()
        case .handshaking, .closed: break
        }
    }

    private func abortUnlessTaken() {
        guard let connection, connection.session.pendingOutput(number) < outputAtDeadline else {
            abort(ExchangeError(side: .downstream, step: "response.send", status: 0))
            return
        }
        awaitClient()
    }

    /// The end of a stream's input is the end of its request; a client that goes away resets it, or its connection ends.
    var inputHasEnded: Bool { false }

    func setDeadline(_ nanoseconds: UInt64) {
        loop.setDeadline(loop.now.advanced(byNanoseconds: nanoseconds), for: registration)
    }

    func clearDeadline() { loop.clearDeadline(for: registration) }

    // MARK: Ends

    /// The stream is gone: the client reset it, or sent on it what makes its request malformed.
    func wasReset() { giveUp(ExchangeError(side: .downstream, step: "stream.reset", status: 0)) }

    func connectionEnded(step: String) { giveUp(ExchangeError(side: .downstream, step: step, status: 0)) }

    func abort(_ error: ExchangeError) {
        guard let connection else { return }
        connection.session.reset(number, code: HTTP2ErrorCode.internalError)
        giveUp(error)
    }

    private func giveUp(_ error: ExchangeError) {
        if let exchange {
            exchange.error = exchange.error ?? error
            exchange.upstream?.abandon()
            exchange.handlerTask?.cancel()
            endExchange(exchange)
        }
        finish()
    }

    private func finish() {
        guard let connection else { return }
        self.connection = nil
        state = .closed
        clearDeadline()
        worker.recycle(input.take())
        worker.recycle(arrived.take())
        connection.finished(self, number: number)
    }
}
