internal import EventLoop
internal import HTTPModel

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
            if exchange != nil {
                abort(ExchangeError(side: .downstream, step: "request.head", status: 0))
            } else {
                close()
            }
            return false
        }
    }

    /// `nil`: the head is not complete. Else whether `advance` should go on.
    private func parseHead() -> Bool? {
        let exchange = self.exchange ?? worker.takeExchange()
        if self.exchange == nil {
            self.exchange = exchange
            exchange.downstream = self
        }
        let limits = listener.settings.headLimits
        switch input.withBytes({ exchange.head.parse($0, limits: limits) }) {
        case .incomplete: return nil
        case .failed(let error):
            exchange.startedAt = worker.loop.now
            headByteCount = 0
            keepsAlive = false
            requestBody = BodyReader()
            input.removeAll()
            fail(ExchangeError(side: .downstream, step: "request.head", status: error.status))
            return state != .closed
        case .complete(let count): headByteCount = count
        }
        begin(exchange)
        return true
    }

    private func begin(_ exchange: Exchange) {
        exchange.startedAt = worker.loop.now
        input.withBytes { exchange.bindHead($0.extracting(0..<headByteCount)) }
        responseFraming = nil
        keepsAlive = exchange.head.keepsAlive && !worker.isDraining
        requestBody = BodyReader(
            exchange.head.framing, extensionBytesMax: listener.settings.chunkExtensionBytesMax)
        state = .deciding
        clearDeadline()
        proceed(worker.filter.decide(exchange))
    }

    /// The filter has its verdict, at once or after it waited.
    func proceed(_ verdict: Verdict) {
        guard state == .deciding, let exchange else { return }
        switch verdict {
        case .suspend: setDeadline(DownstreamConnection.decisionTimeout)
        case .respond(let response): respond(response)
        case .forward(let pool): forward(exchange, to: pool)
        case .handle(let handler): handler.start(exchange, self)
        }
        advance()
    }

    private func forward(_ exchange: Exchange, to pool: UpstreamPool) {
        guard bodyMayCome(exchange) else { return }
        exchange.isWebSocketHandshake =
            exchange.allowsUpgrade && exchange.head.method == .get
            && WebSocketUpgrade.isNamed(by: exchange.head.upgrade, in: exchange.headBytes)
        if exchange.isWebSocketHandshake,
            exchange.head.framing != .none || input.count > headByteCount
        {
            // Bytes before the 101 could be taken for a request by the endpoint.
            fail(ExchangeError(side: .downstream, step: "request.upgrade", status: 400))
            return
        }
        exchange.pool = pool
        input.withBytes { bytes in
            exchange.head.markHopByHop(in: bytes)
        }
        var outgoing = exchange.outgoing.take()
        outgoing.removeAll()
        HeadWriter.writeRequest(exchange, into: &outgoing)
        consumeHead()
        state = .exchanging
        // A body that fails ends the exchange, which may serve another by then: nothing may be left in it.
        guard takeBody(exchange, asChunks: exchange.head.framing == .chunked, into: &outgoing) else { return }
        exchange.outgoing = outgoing
        exchange.isReplayable = exchange.head.method.isIdempotent && requestBody.isFinished
        requestBody.isFinished ? clearDeadline() : setDeadline(listener.settings.bodyTimeout)
        pool.assign(exchange, fresh: false)
    }

    /// Checks a declared length against the cap; answers 413 and returns `false` when it is over.
    func bodyMayCome(_ exchange: Exchange) -> Bool {
        guard case .length(let count) = exchange.head.framing, count > exchange.bodyBytesMax else { return true }
        fail(ExchangeError(side: .downstream, step: "request.body", status: 413))
        return false
    }

    /// Lets go of the head's bytes.
    func consumeHead() {
        guard headByteCount > 0 else { return }
        exchange?.unbindHead()
        input.consume(headByteCount)
        headByteCount = 0
    }

    // MARK: Body

    var requestIsComplete: Bool { requestBody.isFinished }

    /// The upstream takes more of the body, or of what the tunnel brings.
    func upstreamTakesMore() { if state == .exchanging || state == .tunnel { advance() } }

    /// Reads more of the body and passes it on; `false` when there is nothing to do now.
    func moveRequestBody() -> Bool {
        guard let exchange, !requestBody.isFinished else {
            if input.isEmpty { worker.recycle(input.take()) }
            return false
        }
        if exchange.pool == nil { return collectBody(exchange) }
        guard let upstream = exchange.upstream, upstream.takesMore else { return false }
        if input.isEmpty {
            guard readBody() else { return false }
        }
        var build = worker.largeBuffers.take()
        let isLawful = takeBody(exchange, asChunks: exchange.head.framing == .chunked, into: &build)
        if isLawful, !build.isEmpty { upstream.write(build.bytes) }
        worker.largeBuffers.give(build)
        return isLawful && state == .exchanging
    }

    /// Reads body bytes into `input`; `false` when none came.
    private func readBody() -> Bool {
        guard canRead else { return false }
        var buffer = worker.largeBuffers.take()
        let result = transport.read(into: &buffer, minimumRoom: 4096, maximum: min(requestBody.readableMax, 65_536))
        if transport.isDrained, !endWaits { canRead = false }
        if buffer.isEmpty { worker.recycle(buffer) } else { input = buffer }
        switch result {
        case .bytes(let count):
            bodyBytesSinceDeadline += count
            if bodyBytesSinceDeadline >= DownstreamConnection.bodyProgressBytes {
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

    /// Moves body bytes from `input` into `build`, as chunks or bare; `false` when the exchange has failed.
    func takeBody(_ exchange: Exchange, asChunks isChunked: Bool, into build: inout ByteBuffer) -> Bool {
        guard !requestBody.isFinished else { return true }
        var source = input.take()
        defer { restore(&source) }
        while true {
            let (consumed, event) = requestBody.next(source.bytes)
            switch event {
            case .data(let range):
                exchange.requestBodyBytes &+= UInt64(range.count)
                guard exchange.requestBodyBytes <= exchange.bodyBytesMax else {
                    source.removeAll()
                    fail(ExchangeError(side: .downstream, step: "request.body", status: 413))
                    return false
                }
                if isChunked {
                    build.append(hex: UInt64(range.count))
                    build.append("\r\n" as StaticString)
                    build.append(source.bytes, range)
                    build.append("\r\n" as StaticString)
                } else {
                    build.append(source.bytes, range)
                }
                source.consume(consumed)
            case .needMore:
                source.consume(consumed)
                return true
            case .failed:
                source.removeAll()
                keepsAlive = false
                fail(ExchangeError(side: .downstream, step: "request.body", status: 400))
                return false
            case .finished:
                source.consume(consumed)
                if isChunked { build.append("0\r\n\r\n" as StaticString) }
                clearDeadline()
                return true
            }
            if requestBody.isFinished, !isChunked {
                clearDeadline()
                return true
            }
        }
    }

    private func restore(_ source: inout ByteBuffer) {
        guard state != .closed else { return }
        if source.isEmpty { worker.recycle(source.take()) } else { input = source.take() }
    }

    /// For a handler in this process: gathers the whole body, then starts it.
    private func collectBody(_ exchange: Exchange) -> Bool {
        if input.isEmpty {
            guard readBody() else { return false }
        }
        var body = exchange.outgoing.take()
        guard takeBody(exchange, asChunks: false, into: &body) else { return false }
        exchange.outgoing = body
        if requestBody.isFinished { exchange.handler?.bodyIsComplete(exchange) }
        return !requestBody.isFinished
    }

    // MARK: Lingering

    /// Throws away what still comes, within bounds.
    func discardInput() {
        guard canRead else { return }
        var buffer = worker.largeBuffers.take()
        loop: while state == .lingering {
            buffer.removeAll()
            switch transport.read(into: &buffer, minimumRoom: 4096) {
            case .bytes(let count):
                lingeredBytes += count
                if lingeredBytes > DownstreamConnection.lingerBytesMax { close() }
            case .wouldBlock:
                canRead = false
                break loop
            case .closed, .failed: close()
            }
        }
        worker.largeBuffers.give(buffer)
    }

    /// A filter's own waits have shorter deadlines; this one only keeps an exchange from waiting for ever.
    static let decisionTimeout: UInt64 = 30_000_000_000
    static let lingerBytesMax = 1 << 20
    /// A body that brings less than this within its timeout counts as silent.
    static let bodyProgressBytes = 1024
}
