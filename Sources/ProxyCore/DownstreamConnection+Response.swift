internal import EventLoop
internal import HTTPModel

extension DownstreamConnection {
    /// The client has not taken all it was sent: the upstream must wait.
    var hasOutput: Bool { transport.hasOutput }

    func hasRoom(for byteCount: Int) -> Bool { transport.hasRoom(for: byteCount) }

    // MARK: Answers of an upstream

    /// Whether body bytes may be sent as they come from the upstream.
    var passesBodyUnchanged: Bool {
        switch responseFraming {
        case .length, .untilClose: true
        case .chunked, .some(.none), nil: false
        }
    }

    /// Writes the answer's head with the framing that suits this client.
    func writeHead(
        _ head: borrowing ResponseHead, _ bytes: Span<UInt8>, _ framing: ResponseFraming, of exchange: Exchange,
        into build: inout ByteBuffer
    ) {
        exchange.status = head.status
        HeadWriter.writeResponse(head, bytes, into: &build)
        let isHTTP10 = exchange.head.minorVersion == 0
        switch framing {
        case .none:
            responseFraming = ResponseFraming.none
            HeadWriter.writeLengthOfAbsentBody(head, bytes, into: &build)
        case .length(let count):
            responseFraming = .length(count)
            build.append("Content-Length: " as StaticString)
            build.append(decimal: count)
            build.append("\r\n" as StaticString)
        case .chunked, .untilClose:
            if isHTTP10 {
                responseFraming = .untilClose
                keepsAlive = false
            } else {
                responseFraming = .chunked
                build.append("Transfer-Encoding: chunked\r\n" as StaticString)
            }
        }
        // RFC 9110 section 15.5.22: it says to what; only the one upgrade that would be passed on.
        if head.status == 426, !isHTTP10, WebSocketUpgrade.isNamed(by: head.upgrade, in: bytes) {
            build.append("Connection: upgrade\r\nUpgrade: websocket\r\n" as StaticString)
        }
        // An answer that comes before the request is complete ends the connection: the rest of the body is in the way.
        if !requestBody.isFinished { keepsAlive = false }
        finishHead(exchange, into: &build)
    }

    /// The head that was written will not be sent: another answer may still be.
    func forgetHead() { responseFraming = nil }

    private func finishHead(_ exchange: Exchange, into build: inout ByteBuffer) {
        if !keepsAlive {
            build.append("Connection: close\r\n" as StaticString)
        } else if exchange.head.minorVersion == 0 {
            build.append("Connection: keep-alive\r\n" as StaticString)
        }
        build.append(contentsOf: exchange.responseFields)
        build.append("\r\n" as StaticString)
    }

    /// Appends body bytes in the answer's framing.
    func appendBody(_ bytes: Span<UInt8>, _ range: Range<Int>, into build: inout ByteBuffer) {
        guard !range.isEmpty else { return }
        switch responseFraming {
        case .length, .untilClose: build.append(bytes, range)
        case .chunked:
            build.append(hex: UInt64(range.count))
            build.append("\r\n" as StaticString)
            build.append(bytes, range)
            build.append("\r\n" as StaticString)
        case .some(.none), nil: break
        }
    }

    /// Appends what ends the body in the answer's framing.
    func appendEnd(into build: inout ByteBuffer) {
        guard case .chunked = responseFraming else { return }
        build.append("0\r\n" as StaticString)
        exchange?.appendResponseTrailers(to: &build)
        build.append("\r\n" as StaticString)
    }

    /// Passes an interim answer on (RFC 9110 section 15.2), not to HTTP/1.0 clients.
    func sendInterim(_ head: borrowing ResponseHead, _ bytes: Span<UInt8>) {
        guard let exchange, exchange.head.minorVersion > 0, responseFraming == nil else { return }
        var build = worker.smallBuffers.take()
        HeadWriter.writeResponse(head, bytes, into: &build)
        build.append("\r\n" as StaticString)
        send(build.bytes)
        worker.smallBuffers.give(build)
    }

    /// Asks the client for the body it holds back (RFC 9110 section 10.1.1).
    func sendContinue() {
        guard let exchange, exchange.head.minorVersion > 0 else { return }
        var build = worker.smallBuffers.take()
        build.append("HTTP/1.1 100 Continue\r\n\r\n" as StaticString)
        send(build.bytes)
        worker.smallBuffers.give(build)
    }

    /// Sends bytes of an answer, a few at the end of the turn; a client that does not take them makes the upstream wait.
    func send(_ bytes: Span<UInt8>) {
        let joins = !transport.hasGathered
        if loop.hasCompany, transport.gather(bytes, worker.smallBuffers) {
            if joins { worker.turnEnd.add(self) }
        } else {
            wrote(transport.write(bytes))
        }
    }

    /// Sends the answers, or their parts, that this turn brought.
    func sendGathered() {
        guard state != .closed, transport.hasGathered else { return }
        wrote(transport.sendGathered(worker.smallBuffers))
    }

    private func wrote(_ isUsable: Bool) {
        if !isUsable {
            // Not from within the upstream's reading: it is told when its turn is over.
            sendFailed = true
            callAgain()
        } else if transport.hasOutput {
            setDeadline(listener.settings.bodyTimeout)
        }
    }

    /// The upstream has given the whole answer.
    func responseEnded() {
        guard let exchange else { return }
        if sendFailed {
            abort(ExchangeError(side: .downstream, step: "response.send", status: 0))
            return
        }
        let mustLinger = !requestBody.isFinished
        endExchange(exchange)
        nextOrClose(mustLinger: mustLinger)
    }

    // MARK: Answers of ours

    /// Sends a whole answer made here, then goes on to the next request or closes.
    func respond(_ response: LocalResponse) {
        guard let exchange, responseFraming == nil else { return }
        let isHead = exchange.head.method == .head
        consumeHead()
        let isComplete = skipBufferedBody(exchange)
        if response.closes || !isComplete { keepsAlive = false }
        exchange.status = response.status
        responseFraming = .length(UInt64(response.body.count))
        var build = worker.largeBuffers.take()
        build.append("HTTP/1.1 " as StaticString)
        build.append(decimal: UInt64(response.status))
        build.append(UInt8(ascii: " "))
        build.append(StatusReason.text(response.status))
        build.append("\r\n" as StaticString)
        worker.appendDate(to: &build)
        if response.status != 204, response.status != 304 {
            build.append("Content-Length: " as StaticString)
            build.append(decimal: UInt64(response.body.count))
            build.append("\r\n" as StaticString)
        }
        build.append(response.fields)
        finishHead(exchange, into: &build)
        if !isHead {
            build.append(response.body)
            exchange.responseBodyBytes = UInt64(response.body.count)
        }
        state = .exchanging
        let isSent = transport.write(build.bytes)
        worker.largeBuffers.give(build)
        endExchange(exchange)
        if isSent {
            nextOrClose(mustLinger: !isComplete)
        } else {
            close()
        }
    }

    /// Skips a body that has arrived whole; `false` when more of it would have to be read.
    private func skipBufferedBody(_ exchange: Exchange) -> Bool {
        guard !requestBody.isFinished else { return true }
        var source = input.take()
        var isComplete = false
        loop: while true {
            let (consumed, event) = requestBody.next(source.bytes)
            source.consume(consumed)
            switch event {
            case .data, .trailers: isComplete = requestBody.isFinished
            case .finished: isComplete = true
            case .needMore, .failed: break loop
            }
            if isComplete { break loop }
        }
        if source.isEmpty { worker.recycle(source.take()) } else { input = source.take() }
        return isComplete
    }

    // MARK: Afterwards

    private func nextOrClose(mustLinger: Bool) {
        responseFraming = nil
        requestBody = BodyReader()
        if keepsAlive, !mustEnd {
            state = .readingHead
            expectMuch(false)
            if input.isEmpty { worker.recycle(input.take()) }
            setDeadline(transport.hasOutput ? listener.settings.bodyTimeout : listener.settings.idleTimeout)
            advance()
            return
        }
        // Of a client that has said so nothing more is to come; any other may be sending its next request.
        linger(forInput: mustLinger || !clientEnds || !input.isEmpty || canRead)
    }
}
