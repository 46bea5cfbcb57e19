internal import EventLoop
internal import HTTPModel
internal import Telemetry

/// Bodies on their way through a buffer. A request's is gathered before an endpoint is chosen, so that none waits for the
/// client; an answer's is taken from the endpoint while the client takes it in its own time.
extension DownstreamSide {
    // MARK: The request

    /// Begins to gather the body, or refuses it; `false` where nothing needs to be gathered: the body is here already.
    func buffersRequest(_ exchange: Exchange, by buffering: BodyBuffering, for pool: UpstreamPool) -> Bool {
        guard !requestBody.isFinished else { return false }
        if case .length(let count) = exchange.head.framing {
            guard count <= buffering.bodyBytesMax else {
                fail(ExchangeError(side: .downstream, step: "request.buffer", status: 413))
                return true
            }
            if requestBody.isBare, count <= UInt64(input.count - headByteCount) { return false }
        }
        gatherRequest(exchange, by: buffering, for: pool)
        return true
    }

    /// The head is written now, since the body's bytes take its place.
    private func gatherRequest(_ exchange: Exchange, by buffering: BodyBuffering, for pool: UpstreamPool) {
        exchange.pool = pool
        input.withBytes { exchange.head.markHopByHop(in: $0) }
        // The expectation ends here: the endpoint gets head and body together.
        for index in 0..<exchange.head.fields.count where exchange.head.fields[index].known == .expect {
            exchange.head.fields[index].isDropped = true
        }
        var outgoing = exchange.outgoing.take()
        outgoing.removeAll()
        HeadWriter.beginRequest(exchange, into: &outgoing)
        exchange.outgoing = outgoing
        if exchange.head.expectsContinue, input.count == headByteCount { sendContinue() }
        consumeHead()
        if exchange.trailers != nil { requestBody.keepTrailers() }
        exchange.bufferedRequest = BufferedBody(buffering, of: exchange)
        worker.counters.requestsBuffered.add()
        state = .exchanging
        setDeadline(listener.settings.bodyTimeout)
    }

    /// Takes more of the body; `false` when there is nothing to do now.
    func gatherRequest(_ exchange: Exchange) -> Bool {
        guard let body = exchange.bufferedRequest, !body.isBusy else { return false }
        if input.isEmpty {
            guard readBody() else { return false }
        }
        var build = worker.largeBuffers.take()
        defer { worker.largeBuffers.give(build.take()) }
        guard takeBody(exchange, asChunks: false, into: &build) else { return true }
        guard exchange.requestBodyBytes <= exchange.requestBuffering?.bodyBytesMax ?? 0 else {
            fail(ExchangeError(side: .downstream, step: "request.buffer", status: 413))
            return true
        }
        body.append(build.bytes)
        failIfUnbuffered(body)
        return true
    }

    /// The body has come: gives it to an endpoint, as far as that takes it; `false` when there is nothing to do now.
    func sendBufferedRequest(_ exchange: Exchange, _ body: BufferedBody) -> Bool {
        guard body.isWhole else {
            // What is being written now may fail still, and no endpoint shall see a part of the body.
            guard !body.isBusy else { return false }
            startBufferedRequest(exchange, body)
            return true
        }
        guard let upstream = exchange.upstream, upstream.takesMore else { return false }
        guard body.readyCount > 0 else {
            if body.isEmpty { exchange.bufferedRequest = nil }
            return false
        }
        if body.isChunked {
            var build = worker.largeBuffers.take()
            appendPiece(of: body, exchange, into: &build)
            upstream.write(build.bytes)
            worker.largeBuffers.give(build)
        } else {
            body.pass { upstream.write($0) }
        }
        if body.isEmpty { exchange.bufferedRequest = nil }
        failIfUnbuffered(body)
        return true
    }

    private func startBufferedRequest(_ exchange: Exchange, _ body: BufferedBody) {
        body.isWhole = true
        clearDeadline()
        var trailers = worker.smallBuffers.take()
        exchange.appendRequestTrailers(to: &trailers)
        body.isChunked = !trailers.isEmpty
        worker.smallBuffers.give(trailers)
        var outgoing = exchange.outgoing.take()
        HeadWriter.finishRequest(bodyByteCount: body.isChunked ? nil : exchange.requestBodyBytes, into: &outgoing)
        let isSmall = body.readyCount == body.byteCount && body.readyCount <= BodyBuffer.pieceBytesMax
        // Head and body are one write, and can be sent again.
        if isSmall { appendPiece(of: body, exchange, into: &outgoing) }
        exchange.outgoing = outgoing
        if isSmall {
            exchange.bufferedRequest = nil
            exchange.isReplayable = exchange.head.method.isIdempotent
        }
        exchange.pool?.assign(exchange, fresh: false)
    }

    /// Appends the next piece of a body in its framing, with its end behind the last one.
    private func appendPiece(of body: BufferedBody, _ exchange: Exchange, into build: inout ByteBuffer) {
        let count = min(body.readyCount, BodyBuffer.pieceBytesMax)
        guard body.isChunked else {
            body.pass { build.append($0) }
            return
        }
        if count > 0 {
            build.append(hex: UInt64(count))
            build.append("\r\n" as StaticString)
            body.pass { build.append($0) }
            build.append("\r\n" as StaticString)
        }
        guard body.isEmpty else { return }
        build.append("0\r\n" as StaticString)
        exchange.appendRequestTrailers(to: &build)
        build.append("\r\n" as StaticString)
    }

    /// Ends the exchange when its request's body cannot be kept.
    private func failIfUnbuffered(_ body: BufferedBody) {
        guard exchange?.bufferedRequest === body else { return }
        if body.isLost || !body.isWhole && (body.hasFailedToWrite || body.isOutOfRoom) {
            fail(ExchangeError(side: .gateway, step: "request.buffer", status: 503))
        }
    }

    // MARK: The answer

    /// The client has room again for what waits here, and for what the endpoint has to send.
    func clientTakesMore() {
        guard let exchange else { return }
        if let body = exchange.bufferedResponse {
            sendBufferedResponse(exchange, body)
            guard exchange === self.exchange, exchange.bufferedResponse === body else { return }
        }
        exchange.upstream?.pump()
    }

    /// Gives the client what waits, as far as it takes it; ends the exchange behind the last byte.
    func sendBufferedResponse(_ exchange: Exchange, _ body: BufferedBody) {
        while !hasOutput, body.readyCount > 0 { body.pass { send($0) } }
        if body.isLost {
            fail(ExchangeError(side: .gateway, step: "response.buffer", status: 503))
        } else if body.isWhole, body.isEmpty {
            exchange.bufferedResponse = nil
            responseEnded()
        }
    }

    // MARK: Files

    /// The endpoint or the disk has to move first, by its own deadlines.
    var isHeldUp: Bool {
        guard let exchange else { return false }
        if let upstream = exchange.upstream { return !upstream.takesMore }
        return exchange.wait != nil || exchange.bufferedRequest?.isBusy == true
    }

    /// A piece of a body has been written to its file, or read back from it.
    func bufferMoved(_ exchange: Exchange) {
        guard state == .exchanging, exchange === self.exchange else { return }
        if let body = exchange.bufferedRequest {
            failIfUnbuffered(body)
            advance()
        }
        guard state == .exchanging, exchange === self.exchange, exchange.bufferedResponse != nil else { return }
        clientTakesMore()
    }
}
