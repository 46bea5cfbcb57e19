internal import CNghttp2
internal import HTTPModel

/// What an exchange takes from its stream and gives to it.
extension HTTP2Session {
    // MARK: The request

    /// Moves the head of the last `requestHead` event into `buffer`, whose content it replaces, and reads it as any
    /// HTTP/1.1 head is read. An error is to be answered with its status on the stream; `buffer` is empty then, and the
    /// body is thrown away.
    func readHead(_ stream: Int32, into buffer: inout ByteBuffer, as head: inout RequestHead, limits: HeadLimits)
        -> RequestHeadError?
    {
        buffer.removeAll()
        swap(&buffer, &headBytes)
        switch head.parse(buffer.bytes, limits: limits) {
        case .complete(let byteCount) where byteCount == buffer.count: return nil
        case .failed(let error):
            buffer.removeAll()
            streams.update(stream) { $0.discards = true }
            book(.refused)
            return error
        case .complete, .incomplete:
            preconditionFailure("the writer of the head wrote no head, or more than one")
        }
    }

    // MARK: The answer

    /// Submits the head of an upstream's answer, an interim one included. Left out is what is marked as dropped and what
    /// concerns an HTTP/1.1 connection; `lines` are complete field lines that are added. A 101 to an extended CONNECT
    /// becomes the 200 that opens its tunnel. `false`: the stream takes no head any more.
    func respond(
        _ stream: Int32, _ head: borrowing ResponseHead, _ bytes: Span<UInt8>, adding lines: Span<UInt8>,
        endsStream: Bool
    ) -> Bool {
        let isInterim = head.status < 200 && head.status != 101
        return prepareHead(stream, head, bytes, adding: lines)
            && submitHead(stream, opensTunnel: head.status == 101, isInterim: isInterim, endsStream: endsStream)
    }

    /// Gathers the head of an answer, as `respond` does; `submitHead` sends it, unless another head is gathered first.
    func prepareHead(
        _ stream: Int32, _ head: borrowing ResponseHead, _ bytes: Span<UInt8>, adding lines: Span<UInt8>
    ) -> Bool {
        guard let entry = streams[stream], !entry.hasResponded, !entry.wasReset, !entry.isClosed else { return false }
        let opensTunnel = entry.isTunnel && head.status == 101
        guard head.status != 101 || opensTunnel else { return false }
        guard beginHead(opensTunnel ? 200 : head.status) else { return false }
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            guard !field.isDropped else { continue }
            switch field.known {
            case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade, .http2Settings, .te: continue
            // RFC 9110 section 8.6 has it there for nothing.
            case .contentLength where head.status < 200 || head.status == 204: continue
            default: break
            }
            let name = bytes.extracting(field.name.range)
            // Says that an HTTP/1.1 handshake was understood (RFC 6455 section 4.2.2).
            if opensTunnel, HTTP2FieldGrammar.holds("sec-websocket-accept", ignoringCase: true, name, 0..<name.count) {
                continue
            }
            guard addField(name, bytes.extracting(field.value.range), isIndexed: field.known != .setCookie) else {
                return false
            }
        }
        return addLines(lines)
    }

    /// Submits the final head that `prepareHead` has just gathered.
    func submitHead(_ stream: Int32, endsStream: Bool) -> Bool {
        submitHead(stream, opensTunnel: false, isInterim: false, endsStream: endsStream)
    }

    /// Submits a whole answer made here; `lines` are complete field lines that are added to its own.
    func respond(_ stream: Int32, _ response: LocalResponse, adding lines: Span<UInt8>, isHead: Bool) -> Bool {
        guard let entry = streams[stream], !entry.hasResponded, !entry.wasReset, !entry.isClosed else { return false }
        guard beginHead(response.status), addLines(lines), addLines(response.fields.span) else { return false }
        if response.status != 204, response.status != 304 {
            var length = ByteBuffer(capacity: 32)
            length.append("content-length: " as StaticString)
            length.append(decimal: UInt64(response.body.count))
            length.append("\r\n" as StaticString)
            guard addLines(length.bytes) else { return false }
        }
        let hasBody = !isHead && !response.body.isEmpty
        guard submitHead(stream, opensTunnel: false, isInterim: false, endsStream: !hasBody) else { return false }
        return !hasBody || write(stream, response.body.span, endsStream: true)
    }

    /// Asks the client for the body that it holds back (RFC 9110 section 10.1.1).
    func respondContinue(_ stream: Int32) -> Bool {
        guard let entry = streams[stream], !entry.hasResponded, !entry.wasReset, !entry.isClosed else { return false }
        return beginHead(100) && submitHead(stream, opensTunnel: false, isInterim: true, endsStream: false)
    }

    /// Adds body bytes, which wait until `produce` has room and the client has given window. `false`: the stream takes
    /// none any more, or there is no memory for them.
    func write(_ stream: Int32, _ bytes: Span<UInt8>, endsStream: Bool) -> Bool {
        guard let entry = streams[stream], entry.hasResponded, !entry.isAnswered, !entry.wasReset, !entry.isClosed
        else {
            return false
        }
        let isTaken = unsafe bytes.withUnsafeBufferPointer { region in
            // The bytes are copied.
            unsafe cnghttp2_write(session, stream, region.baseAddress, region.count, endsStream)
        }
        if isTaken, endsStream { streams.update(stream) { $0.isAnswered = true } }
        return isTaken
    }

    /// Keeps trailers, as complete field lines, to be sent when the body is; before the `write` that ends the stream.
    func holdTrailers(_ stream: Int32, _ lines: Span<UInt8>) -> Bool {
        guard let entry = streams[stream], entry.hasResponded, !entry.isAnswered, !entry.wasReset, !entry.isClosed
        else {
            return false
        }
        unsafe cnghttp2_head_begin(session)
        guard addLines(lines) else { return false }
        return unsafe cnghttp2_hold_trailers(session, stream)
    }

    /// Body bytes of the stream that wait.
    func pendingOutput(_ stream: Int32) -> Int { unsafe cnghttp2_pending(session, stream) }

    /// Whether the exchange may go on reading its upstream; when not, `outputDrained` will say so.
    func takesMore(_ stream: Int32) -> Bool { pendingOutput(stream) < settings.outputBytesHigh }

    // MARK: Heads

    private func beginHead(_ status: Int) -> Bool {
        precondition((100...599).contains(status))
        unsafe cnghttp2_head_begin(session)
        let name: [8 of UInt8] = [0x3A, 0x73, 0x74, 0x61, 0x74, 0x75, 0x73, 0]
        let digits: [3 of UInt8] = [
            0x30 + UInt8(status / 100), 0x30 + UInt8(status / 10 % 10), 0x30 + UInt8(status % 10),
        ]
        return addField(name.span.extracting(0..<7), digits.span, isIndexed: true)
    }

    private func addField(_ name: Span<UInt8>, _ value: Span<UInt8>, isIndexed: Bool) -> Bool {
        unsafe name.withUnsafeBufferPointer { name in
            unsafe value.withUnsafeBufferPointer { value in
                // Both are copied.
                unsafe cnghttp2_head_add(
                    session, name.baseAddress, name.count, value.baseAddress, value.count, isIndexed)
            }
        }
    }

    /// Adds complete field lines, each with its CRLF; `false` if that is not what they are.
    private func addLines(_ lines: Span<UInt8>) -> Bool {
        var start = 0
        while start < lines.count {
            var colon = start
            while colon < lines.count, lines[colon] != UInt8(ascii: ":") { colon += 1 }
            var end = colon
            while end < lines.count, lines[end] != 0x0D { end += 1 }
            guard colon > start, end + 1 < lines.count, lines[end + 1] == 0x0A else { return false }
            var first = colon + 1
            var last = end
            while first < last, lines[first] == 0x20 || lines[first] == 0x09 { first += 1 }
            while first < last, lines[last - 1] == 0x20 || lines[last - 1] == 0x09 { last -= 1 }
            let name = lines.extracting(start..<colon)
            let isCookie = HTTP2FieldGrammar.holds("set-cookie", ignoringCase: true, name, 0..<name.count)
            guard addField(name, lines.extracting(first..<last), isIndexed: !isCookie) else { return false }
            start = end + 2
        }
        return true
    }

    private func submitHead(_ stream: Int32, opensTunnel: Bool, isInterim: Bool, endsStream: Bool) -> Bool {
        precondition(!isInterim || !endsStream)
        guard unsafe cnghttp2_head_submit(session, stream, isInterim, endsStream) else { return false }
        guard !isInterim else { return true }
        streams.update(stream) {
            $0.hasResponded = true
            $0.isAnswered = endsStream
            $0.isTunnel = opensTunnel
        }
        return true
    }
}
