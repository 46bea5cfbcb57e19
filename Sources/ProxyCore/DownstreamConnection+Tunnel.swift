internal import EventLoop
internal import HTTPModel

/// Upgraded connections (RFC 9110 section 7.8): bytes pass unread, with back-pressure, until either side ends.
extension DownstreamConnection {
    /// The upstream agreed to switch protocols.
    func startTunnel(_ head: borrowing ResponseHead, _ bytes: Span<UInt8>, _ headByteCount: Int) {
        guard let exchange else { return }
        exchange.status = 101
        exchange.wasUpgraded = true
        responseFraming = ResponseFraming.none
        keepsAlive = false
        state = .tunnel
        setDeadline(listener.settings.tunnelIdleTimeout)
        var build = worker.largeBuffers.take()
        HeadWriter.writeSwitch(head, bytes, into: &build)
        build.append(contentsOf: exchange.responseFields)
        build.append("\r\n" as StaticString)
        build.append(bytes, headByteCount..<bytes.count)
        send(build.bytes)
        worker.largeBuffers.give(build)
        canRead = true
        callAgain()
    }

    func pumpTunnelFromDownstream() {
        guard let exchange, let upstream = exchange.upstream else { return }
        var buffer = worker.largeBuffers.take()
        defer { worker.largeBuffers.give(buffer.take()) }
        for _ in 0..<16 {
            guard state == .tunnel, canRead, !upstream.hasOutput, !sendFailed else { break }
            buffer.removeAll()
            switch transport.read(into: &buffer, minimumRoom: 16_384) {
            case .bytes(let count):
                if transport.isDrained, !endWaits { canRead = false }
                exchange.requestBodyBytes &+= UInt64(count)
                setDeadline(listener.settings.tunnelIdleTimeout)
                upstream.write(buffer.bytes)
            case .wouldBlock: canRead = false
            case .closed, .failed:
                tunnelEnded()
                return
            }
        }
        if sendFailed { tunnelEnded() } else if canRead, state == .tunnel, !upstream.hasOutput { callAgain() }
    }

    func pumpTunnelFromUpstream() {
        guard let exchange, let upstream = exchange.upstream else { return }
        var buffer = worker.largeBuffers.take()
        defer { worker.largeBuffers.give(buffer.take()) }
        for _ in 0..<16 {
            guard state == .tunnel, !transport.hasOutput, !sendFailed else { return }
            buffer.removeAll()
            switch upstream.readTunnel(into: &buffer) {
            case .bytes(let count):
                exchange.responseBodyBytes &+= UInt64(count)
                setDeadline(listener.settings.tunnelIdleTimeout)
                send(buffer.bytes)
            case .wouldBlock: return
            case .closed, .failed:
                tunnelEnded()
                return
            }
        }
        upstream.callAgain()
    }

    /// Either side ended: what is under way to the client is sent, then both connections close.
    func tunnelEnded() {
        guard state == .tunnel, let exchange else { return }
        exchange.upstream?.abandon()
        endExchange(exchange)
        linger(forInput: true)
    }

    func tunnelTimedOut() {
        exchange?.error = ExchangeError(side: .downstream, step: "tunnel.idle", status: 0)
        tunnelEnded()
    }
}
