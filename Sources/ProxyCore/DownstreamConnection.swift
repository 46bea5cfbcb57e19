internal import EventLoop
internal import Glibc
internal import HTTPModel
internal import Telemetry

/// A connection that a client opened: handshake, then one HTTP/1.1 exchange after the other. Where the handshake agreed on
/// HTTP/2, an `HTTP2Connection` takes over.
///
/// Reading and sending are in `DownstreamConnection+Request` and `+Response`, upgraded connections in `+Tunnel`.
final class DownstreamConnection: DownstreamSide, EventHandler, ServedConnection {
    let peer: IPAddress
    // Small ones side by side: each gap would be there for every idle connection.
    let peerPort: UInt16
    let isSecure: Bool
    var state = DownstreamState.handshaking
    var keepsAlive = true
    /// The client has said that the request under way is its last.
    var clientEnds = false
    /// The connection ends with the exchange under way, or with its next one.
    private(set) var mustEnd = false
    /// The socket may hold bytes that no event will announce again.
    var canRead = false
    /// The end of input is behind the bytes that wait: no event will announce it again.
    var endWaits = false
    var lingersForInput = false
    /// The client does not take bytes any more; noticed while the upstream was being read.
    var sendFailed = false
    private var isAdvancing = false
    private(set) var registration = Registration.none
    private(set) var handshake: HandshakeFacts?
    let listener: ListenerSocket
    let worker: Worker
    let loop: EventLoop
    var input = ByteBuffer()
    var exchange: Exchange?
    var headByteCount = 0
    var requestBody = BodyReader()
    var responseFraming: ResponseFraming?
    var transport: Transport
    var lingeredBytes = 0
    /// When lingering is over, whatever still comes; in nanoseconds.
    var lingerEnds: UInt64 = 0
    var bodyBytesSinceDeadline = 0
    /// Among the connections of its address, until it is closed.
    private var place: ConnectionPlace?
    /// Among the handshakes of its listener, while it is one.
    private var handshakePlace: HandshakeQueue<DownstreamConnection>.Place?

    init?(_ accepted: consuming AcceptedConnection, listener: ListenerSocket, worker: Worker) {
        peer = accepted.peer
        peerPort = accepted.peerPort
        self.listener = listener
        self.worker = worker
        loop = worker.loop
        isSecure = listener.settings.tls != nil
        place = .some(accepted.place)
        place?.hold(isSecure ? DownstreamConnection.handshakeBytesEstimate : DownstreamConnection.plainBytesEstimate)
        if let context = listener.settings.tls {
            guard let session = TLSSession(context: context, wire: worker.wire) else { return nil }
            transport = Transport(accepted.descriptor, tls: session, wire: worker.wire)
        } else {
            transport = Transport(accepted.descriptor, tls: nil, wire: worker.wire)
            state = .readingHead
        }
    }

    func start() {
        worker.opened(self)
        do throws(SystemError) {
            registration = try loop.register(transport.number, handler: self)
        } catch {
            close()
            return
        }
        if state == .handshaking { handshakePlace = listener.handshakeBegan(self) }
        let settings = listener.settings
        setDeadline(state == .handshaking ? settings.handshakeTimeout : settings.headTimeout)
    }

    // MARK: Events

    func ready(_ readiness: Readiness) {
        // Both directions have ended while the connection lingers: what the client sent before is still to be read.
        if readiness.contains(.error) || readiness.contains(.hangUp) && state != .lingering {
            abort(ExchangeError(side: .downstream, step: "connection", status: 0))
            return
        }
        if sendFailed, state != .tunnel {
            abort(ExchangeError(side: .downstream, step: "response.send", status: 0))
            return
        }
        if readiness.contains(.writable), transport.hasOutput, !flushOutput() { return }
        guard !readiness.isDisjoint(with: [.readable, .peerClosed]) else { return }
        if readiness.contains(.peerClosed) {
            endWaits = true
            exchange?.wait?.clientLeft()
        }
        canRead = true
        advance()
    }

    func deadlinePassed() {
        switch state {
        case .handshaking:
            worker.counters.handshakeFailures.add()
            close()
        case .readingHead:
            if transport.hasOutput {
                close()
            } else if exchange == nil {
                endInOrder()
            } else {
                fail(ExchangeError(side: .downstream, step: "request.head", status: 408))
            }
        case .deciding: fail(ExchangeError(side: .gateway, step: "decide", status: 503))
        case .exchanging:
            if transport.hasOutput {
                abort(ExchangeError(side: .downstream, step: "response.send", status: 0))
            } else if isHeldUp {
                setDeadline(listener.settings.bodyTimeout)
            } else if !requestBody.isFinished {
                fail(ExchangeError(side: .downstream, step: "request.body", status: 408))
            } else if exchange?.handlerTask != nil {
                fail(ExchangeError(side: .gateway, step: "handler", status: 503))
            }
        case .tunnel: tunnelTimedOut()
        case .lingering:
            // An answer that ends with the connection would look complete.
            if transport.hasOutput { transport.resetOnClose() }
            close()
        case .closed: break
        }
    }

    func advance() {
        guard !isAdvancing else { return }
        isAdvancing = true
        defer { isAdvancing = false }
        let piecesEnd = worker.piecesTaken + Worker.piecesPerTurn
        for _ in 0..<DownstreamConnection.stepsPerTurn where worker.piecesTaken < piecesEnd {
            switch state {
            case .handshaking: if !continueHandshake() { return }
            case .readingHead: if !readHead() { return }
            case .exchanging: if !moveRequestBody() { return }
            case .tunnel:
                pumpTunnelFromDownstream()
                return
            case .lingering:
                discardInput()
                return
            case .deciding, .closed: return
            }
        }
        // Whoever asks as fast as it is answered must let others have their turn.
        callAgain()
    }

    /// Requests answered here, or reads of a body, before the others of the worker have their turn.
    private static let stepsPerTurn = 32

    private func continueHandshake() -> Bool {
        switch transport.handshake() {
        case .bytes:
            if transport.wasResumed { worker.counters.handshakesResumed.add() }
            handshake = transport.handshakeFacts
            handshakeEnded()
            place?.hold(DownstreamConnection.secureBytesEstimate)
            if transport.isHTTP2 {
                becomeHTTP2()
                return false
            }
            state = .readingHead
            canRead = true
            setDeadline(listener.settings.headTimeout)
            return true
        case .wouldBlock:
            canRead = false
            if let handshakePlace, transport.hasWritten { listener.handshakeWasAnswered(handshakePlace) }
            return false
        case .closed, .failed:
            worker.counters.handshakeFailures.add()
            close()
            return false
        }
    }

    private func handshakeEnded() { if let place = handshakePlace.take() { listener.handshakeEnded(place) } }

    /// Reads a large body in large pieces, and books the memory that this takes.
    func expectMuch(_ isMuch: Bool) {
        guard isSecure, isMuch != transport.expectsMuch else { return }
        transport.expectMuch(isMuch)
        place?.hold(DownstreamConnection.secureBytesEstimate + (isMuch ? Transport.largeReadByteCount : 0))
    }

    private func becomeHTTP2() {
        var taken = Transport(Descriptor(adopting: -1), tls: nil, wire: worker.wire)
        swap(&taken, &transport)
        guard let successor = HTTP2Connection(self, taken, place.take(), registration) else {
            close()
            return
        }
        state = .closed
        loop.hand(registration, to: successor)
        worker.replaced(self, by: successor)
        successor.start()
        if mustEnd { successor.drain() }
    }

    /// Sends what waits; `false` when the connection is gone.
    private func flushOutput() -> Bool {
        guard transport.flush() else {
            abort(ExchangeError(side: .downstream, step: "response.send", status: 0))
            return false
        }
        if transport.hasOutput {
            setDeadline(state == .lingering ? listener.settings.idleTimeout : listener.settings.bodyTimeout)
            return true
        }
        switch state {
        case .exchanging:
            requestBody.isFinished ? clearDeadline() : setDeadline(listener.settings.bodyTimeout)
            clientTakesMore()
        case .readingHead:
            setDeadline(listener.settings.idleTimeout)
            advance()
        case .tunnel:
            setDeadline(listener.settings.tunnelIdleTimeout)
            pumpTunnelFromUpstream()
        case .lingering: outputIsOut()
        case .handshaking, .deciding, .closed: break
        }
        return state != .closed
    }

    /// Whether the handshake ran under a policy that a context still has; false while it runs.
    func isUnderPolicy(of context: TLSContext?) -> Bool {
        guard let handshake, let context else { return !isSecure && context == nil }
        return context.policies.contains { $0 == handshake.policy }
    }

    // MARK: Ends

    /// An idle connection ends now, a busy one after its exchange: the gateway stops, or what it came under is over.
    func drain() {
        mustEnd = true
        keepsAlive = false
        if lingerEnds > 0 { lingerEnds = min(lingerEnds, lingerEnd(after: DownstreamConnection.lingerTimeout)) }
        guard state == .readingHead, exchange == nil, !transport.hasOutput else { return }
        // A request may wait in the socket, above all of a connection that was accepted just now.
        canRead = true
        advance()
        if state == .readingHead, exchange == nil, !transport.hasOutput { endInOrder() }
    }

    func forEachExchange(_ body: (Exchange) -> Void) { if let exchange { body(exchange) } }

    /// Cuts the connection: what was sent must not look complete.
    func abort(_ error: ExchangeError) {
        if let exchange {
            exchange.error = exchange.error ?? error
            exchange.upstream?.abandon()
            exchange.handlerTask?.cancel()
            endExchange(exchange)
            transport.resetOnClose()
        }
        close()
    }

    func close() {
        guard state != .closed else { return }
        if let exchange {
            exchange.error = exchange.error ?? ExchangeError(side: .downstream, step: "connection", status: 0)
            exchange.upstream?.abandon()
            exchange.handlerTask?.cancel()
            endExchange(exchange)
        }
        state = .closed
        handshakeEnded()
        loop.end(registration)
        worker.recycle(input.take())
        transport.close()
        place = nil
        listener.connectionClosed()
        worker.closed(self)
    }

    var inputHasEnded: Bool { endWaits }

    /// What a connection takes besides its buffers: itself, and what OpenSSL holds for it while it shakes hands and
    /// afterwards, with its own buffers.
    private static let plainBytesEstimate = 2048
    private static let handshakeBytesEstimate = 65_536
    private static let secureBytesEstimate = 24_576

    func setDeadline(_ nanoseconds: UInt64) {
        loop.setDeadline(loop.now.advanced(byNanoseconds: nanoseconds), for: registration)
    }

    func clearDeadline() { loop.clearDeadline(for: registration) }

    func callAgain() { loop.callAgain(registration) }
}
