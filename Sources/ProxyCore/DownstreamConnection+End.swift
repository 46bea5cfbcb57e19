internal import EventLoop
internal import HTTPModel

/// The end in order: what waits is sent, then our direction ends, with close_notify where there is TLS.
///
/// A socket that is closed while the client still sends would answer with a reset, and forget what the client has not
/// taken yet. So such a connection lingers: it throws away what comes until the client ends it, within bounds.
extension DownstreamConnection {
    /// Ends a connection on which no answer is under way. `inputHasEnded`: the client's direction has, and all of it was
    /// read.
    func endInOrder(inputHasEnded: Bool = false) {
        if let exchange { endExchange(exchange) }
        // To be asked before our own end is under way, which waits for the client's word as well.
        linger(forInput: !inputHasEnded && (canRead || transport.hasUnacknowledgedOutput))
    }

    /// Nothing more will be answered. `forInput`: the client may still be sending.
    func linger(forInput: Bool) {
        state = .lingering
        lingersForInput = forInput
        worker.recycle(input.take())
        setDeadline(listener.settings.idleTimeout)
        if !transport.hasOutput { outputIsOut() }
    }

    /// All is sent: ends our direction; waits for the client's end only where it may still be sending.
    func outputIsOut() {
        transport.shutDownOutput()
        // The word of our end, too, may have to wait.
        guard !transport.hasOutput else { return }
        guard lingersForInput else {
            close()
            return
        }
        lingerEnds = lingerEnd(after: mustEnd ? DownstreamConnection.lingerTimeout : DownstreamConnection.lingerMax)
        setDeadline(DownstreamConnection.lingerTimeout)
        canRead = true
        discardInput()
    }

    /// Throws away what still comes, within bounds.
    func discardInput() {
        guard canRead else { return }
        var buffer = worker.largeBuffers.take()
        let before = lingeredBytes
        for _ in 0..<DownstreamConnection.discardsPerTurn where state == .lingering && canRead {
            buffer.removeAll()
            switch transport.read(into: &buffer, minimumRoom: 4096) {
            case .bytes(let count):
                lingeredBytes += count
                if lingeredBytes > DownstreamConnection.lingerBytesMax { close() }
            case .wouldBlock: canRead = false
            case .closed where transport.hasOutput:
                // It has ended its direction alone, and still takes what waits.
                canRead = false
                lingersForInput = false
            case .closed, .failed: close()
            }
        }
        worker.largeBuffers.give(buffer)
        guard state == .lingering else { return }
        if lingeredBytes > before, lingerEnds > 0 {
            let end = min(lingerEnds, lingerEnd(after: DownstreamConnection.lingerTimeout))
            loop.setDeadline(MonotonicInstant(nanoseconds: end), for: registration)
        }
        if canRead { callAgain() }
    }

    func lingerEnd(after nanoseconds: UInt64) -> UInt64 { loop.now.nanoseconds &+ nanoseconds }

    /// How long a client may be silent before it has read its answer, and how long it may go on sending at most.
    static let lingerTimeout: UInt64 = 2_000_000_000
    static let lingerMax: UInt64 = 30_000_000_000
    static let lingerBytesMax = 64 << 20
    private static let discardsPerTurn = 16
}
