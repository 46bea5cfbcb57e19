internal import EventLoop
internal import HTTPModel
internal import Telemetry

extension DownstreamConnection {
    // MARK: Head

    /// Parses what is there, reads more when it does not suffice; `false` when there is nothing to do now.
    func readHead() -> Bool {
        guard !transport.hasOutput else { return false }
        if !input.isEmpty, let isComplete = parseHead() { return isComplete }
        guard canRead else {
            if input.isEmpty, exchange == nil { worker.recycle(input.take()) }
            return false
        }
        var buffer = input.hasMemory ? input.take() : worker.smallBuffers.take()
        let result = transport.read(into: &buffer, minimumRoom: 4096)
        if transport.isDrained, !endWaits { canRead = false }
        if buffer.isEmpty { worker.recycle(buffer) } else { input = buffer }
        switch result {
        case .bytes:
            if exchange == nil { setDeadline(listener.settings.headTimeout) }
            return true
        case .wouldBlock:
            canRead = false
            return false
        case .closed, .failed:
            exchange?.error = ExchangeError(side: .downstream, step: "request.head", status: 0)
            if result == .closed { endInOrder(inputHasEnded: true) } else { close() }
            return false
        }
    }

    /// `nil`: the head is not complete. Else whether `advance` should go on.
    private func parseHead() -> Bool? {
        let exchange = self.exchange ?? worker.takeExchange()
        if self.exchange == nil {
            self.exchange = exchange
            exchange.begin(on: self)
        }
        let limits = listener.settings.headLimits
        switch input.withBytes({ exchange.head.parse($0, limits: limits) }) {
        case .incomplete:
            guard MemoryAccount.isUsedUp else { return nil }
            worker.counters.memoryExchanges.add()
            return refuse(exchange, ExchangeError(side: .gateway, step: "memory", status: 503))
        case .failed(let error):
            return refuse(exchange, ExchangeError(side: .downstream, step: "request.head", status: error.status))
        case .complete(let count): headByteCount = count
        }
        clientEnds = !exchange.head.keepsAlive
        keepsAlive = !clientEnds && !mustEnd
        begin(exchange)
        return true
    }

    /// Answers a request whose head is not read to its end, and closes.
    private func refuse(_ exchange: Exchange, _ error: ExchangeError) -> Bool {
        exchange.startedAt = loop.now
        headByteCount = 0
        keepsAlive = false
        clientEnds = false
        requestBody = BodyReader()
        input.removeAll()
        fail(error)
        return state != .closed
    }

    // MARK: Body

    func makeBodyReader(_ exchange: Exchange) -> BodyReader {
        switch exchange.head.framing {
        case .chunked: expectMuch(true)
        case .length(let byteCount) where byteCount > 65_536: expectMuch(true)
        case .none, .length: break
        }
        return BodyReader(exchange.head.framing, extensionBytesMax: listener.settings.chunkExtensionBytesMax)
    }

    func readBody() -> Bool {
        guard canRead else { return false }
        guard !MemoryAccount.isUsedUp else {
            worker.counters.memoryExchanges.add()
            fail(ExchangeError(side: .gateway, step: "memory", status: 503))
            return false
        }
        var buffer = worker.largeBuffers.take()
        let result = transport.read(into: &buffer, minimumRoom: 4096, maximum: min(requestBody.readableMax, 65_536))
        if transport.isDrained, !endWaits { canRead = false }
        if buffer.isEmpty { worker.recycle(buffer) } else { input = buffer }
        switch result {
        case .bytes(let count):
            bodyBytesSinceDeadline += count
            if bodyBytesSinceDeadline >= listener.settings.bodyProgressBytes {
                bodyBytesSinceDeadline = 0
                setDeadline(listener.settings.bodyTimeout)
            }
            return true
        case .wouldBlock:
            canRead = false
            return false
        case .closed, .failed:
            abort(ExchangeError(side: .downstream, step: "request.body", status: 0))
            return false
        }
    }
}
