internal import EventLoop
internal import HTTPModel

/// The request's way: filter, endpoint or handler, body.
extension DownstreamSide {
    // MARK: Head

    /// The head is complete, at the front of `input`.
    func begin(_ exchange: Exchange) {
        exchange.startedAt = loop.now
        input.withBytes { exchange.bindHead($0.extracting(0..<headByteCount)) }
        responseFraming = nil
        requestBody = makeBodyReader(exchange)
        state = .deciding
        clearDeadline()
        proceed(exchange.filter.decide(exchange))
    }

    /// The filter has its verdict, at once or after it waited.
    func proceed(_ verdict: Verdict) {
        guard state == .deciding, let exchange else { return }
        switch verdict {
        case .suspend: setDeadline(DownstreamTimes.decision)
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
        if !exchange.handshakeKey.isEmpty, !exchange.isWebSocketHandshake {
            // Without the upgrade it would be another request than the client made.
            fail(ExchangeError(side: .downstream, step: "request.upgrade", status: 403))
            return
        }
        if let buffering = exchange.requestBuffering, buffersRequest(exchange, by: buffering, for: pool) { return }
        exchange.pool = pool
        input.withBytes { bytes in
            exchange.head.markHopByHop(in: bytes)
        }
        var outgoing = exchange.outgoing.take()
        outgoing.removeAll()
        HeadWriter.writeRequest(exchange, into: &outgoing)
        consumeHead()
        state = .exchanging
        if exchange.trailers != nil { requestBody.keepTrailers() }
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

    /// All of the request has been read, and nothing of it waits here.
    var requestIsComplete: Bool { requestBody.isFinished && exchange?.bufferedRequest == nil }

    /// All of the request has been read.
    var requestHasArrived: Bool { requestBody.isFinished }

    /// The upstream takes more of the body, or of what the tunnel brings.
    func upstreamTakesMore() {
        guard state == .exchanging || state == .tunnel else { return }
        // While the endpoint took nothing the client could not send: only now its time begins.
        if state == .exchanging, !requestBody.isFinished, !hasOutput { setDeadline(listener.settings.bodyTimeout) }
        advance()
    }

    /// Reads more of the body and passes it on; `false` when there is nothing to do now.
    func moveRequestBody() -> Bool {
        guard let exchange, !requestBody.isFinished else {
            if input.isEmpty { worker.recycle(input.take()) }
            guard let exchange, let body = exchange.bufferedRequest else { return false }
            return sendBufferedRequest(exchange, body)
        }
        if exchange.pool == nil { return collectBody(exchange) }
        guard let upstream = exchange.upstream else { return gatherRequest(exchange) }
        guard upstream.takesMore else { return false }
        if input.isEmpty {
            guard readBody() else { return false }
        }
        if requestBody.isBare, input.count <= requestBody.readableMax {
            return passBody(exchange, to: upstream) && state == .exchanging
        }
        var build = worker.largeBuffers.take()
        let isLawful = takeBody(exchange, asChunks: exchange.head.framing == .chunked, into: &build)
        if isLawful, !build.isEmpty { upstream.write(build.bytes) }
        worker.largeBuffers.give(build)
        return isLawful && state == .exchanging
    }

    /// Passes all of `input` on as it came; `false` when the exchange has failed.
    private func passBody(_ exchange: Exchange, to upstream: UpstreamConnection) -> Bool {
        var source = input.take()
        let (consumed, _) = requestBody.next(source.bytes)
        guard bodyFits(exchange, consumed) else { return false }
        upstream.write(source.bytes)
        source.removeAll()
        restore(&source)
        if requestBody.isFinished { clearDeadline() }
        return true
    }

    /// Counts `byteCount` more bytes of the body; answers 413 and returns `false` when they are over the cap.
    private func bodyFits(_ exchange: Exchange, _ byteCount: Int) -> Bool {
        exchange.requestBodyBytes &+= UInt64(byteCount)
        guard exchange.requestBodyBytes > exchange.bodyBytesMax else { return true }
        fail(ExchangeError(side: .downstream, step: "request.body", status: 413))
        return false
    }

    /// Moves body bytes from `input` into `build`, as chunks or bare; `false` when the exchange has failed.
    func takeBody(_ exchange: Exchange, asChunks isChunked: Bool, into build: inout ByteBuffer) -> Bool {
        guard !requestBody.isFinished else { return true }
        var source = input.take()
        var pieces: UInt64 = 0
        defer {
            restore(&source)
            worker.piecesTaken += pieces
        }
        while true {
            let (consumed, event) = requestBody.next(source.bytes)
            pieces += 1
            switch event {
            case .data(let range):
                guard bodyFits(exchange, range.count) else {
                    source.removeAll()
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
            case .trailers(let range):
                exchange.requestTrailers.append(source.bytes, range)
                source.consume(consumed)
            case .needMore:
                source.consume(consumed)
                return true
            case .failed:
                source.removeAll()
                fail(ExchangeError(side: .downstream, step: "request.body", status: 400))
                return false
            case .finished:
                source.consume(consumed)
                if isChunked {
                    build.append("0\r\n" as StaticString)
                    exchange.appendRequestTrailers(to: &build)
                    build.append("\r\n" as StaticString)
                }
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

    /// For a handler in this process: begins to gather the body, and starts the handler when all of it is there.
    func gatherBody(_ exchange: Exchange, for handler: HandlerUpstream) {
        if exchange.head.expectsContinue, !requestIsComplete { sendContinue() }
        consumeHead()
        state = .exchanging
        setDeadline(listener.settings.bodyTimeout)
        var body = exchange.outgoing.take()
        body.removeAll()
        guard takeBody(exchange, asChunks: false, into: &body) else { return }
        exchange.outgoing = body
        if requestIsComplete { handler.bodyIsComplete(exchange) }
    }
}

/// Lengths of time that no setting changes, in nanoseconds.
enum DownstreamTimes {
    /// A filter's own waits have shorter deadlines; this one only keeps an exchange from waiting for ever.
    static let decision: UInt64 = 30_000_000_000
}
