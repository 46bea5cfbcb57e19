internal import CNghttp2
internal import HTTPModel

/// The server's side of one HTTP/2 connection (RFC 9113, RFC 7541), without I/O.
///
/// Its owner, a connection, moves bytes: `receive` what came, take all events, pass on and `consume`, `respond` and
/// `write`, then `produce` until nothing comes, and close when `isFinished`. It belongs to one thread.
///
/// Framing and header compression are nghttp2's; what a request is, which streams count, and what a client may cost are
/// decided here.
@safe final class HTTP2Session {
    let settings: HTTP2Settings
    // Made in init, freed in deinit, handed to nobody.
    let session: OpaquePointer
    var streams = HTTP2Streams()
    /// The HTTP/1.1 head of the last `requestHead`, or the lines of the last `trailers`.
    var headBytes = ByteBuffer()
    private(set) var glitches: GlitchAccount
    /// Events that follow the one that was given, which is one at most but at the end of a request.
    private var following: (next: HTTP2Event?, last: HTTP2Event?)
    private var now: UInt64
    /// Why the connection is over; only what is queued is still written.
    private var failure: UInt32?
    private var isFailureTold = false
    private var isDead = false

    // Outlives the session, which gives its blocks back at its end.
    private let spare: HTTP2SpareMemory?

    /// `nil` when there is no memory. The first thing to do is to `produce`: the settings wait. Sessions of one thread
    /// share `spare`.
    init?(_ settings: HTTP2Settings = HTTP2Settings(), at now: UInt64, spare: HTTP2SpareMemory? = nil) {
        var limits = cnghttp2_settings()
        limits.concurrent_streams_max = UInt32(settings.concurrentStreamsMax)
        limits.stream_window = UInt32(settings.streamWindow)
        limits.connection_window = UInt32(settings.connectionWindow)
        limits.field_bytes_max = UInt32(settings.headBytesMax)
        limits.fields_max = UInt32(settings.fieldsMax)
        limits.block_bytes_max = UInt32(settings.headBlockBytesMax)
        limits.acknowledgements_max = UInt32(settings.acknowledgementsMax)
        limits.memory_bytes_max = settings.memoryBytesMax
        limits.output_bytes_high = UInt32(settings.outputBytesHigh)
        limits.output_bytes_low = UInt32(settings.outputBytesLow)
        limits.allows_extended_connect = settings.allowsExtendedConnect
        // The settings are copied.
        guard let made = unsafe cnghttp2_session_new(&limits, spare?.blocks) else { return nil }
        unsafe session = made
        self.spare = spare
        self.settings = settings
        self.now = now
        glitches = GlitchAccount(limit: settings.glitchUnitsMax, at: now)
    }

    deinit { unsafe cnghttp2_session_free(session) }

    // MARK: Bytes in

    /// Takes bytes of the client and says how many; `now` is in nanoseconds and never goes back.
    ///
    /// Take all events before the bytes go away. If fewer were taken than given, take the events, then pass the rest.
    func receive(_ bytes: Span<UInt8>, at now: UInt64) -> Int {
        self.now = now
        guard failure == nil else { return bytes.count }
        var taken = 0
        let outcome = unsafe bytes.withUnsafeBufferPointer { region in
            // The region is valid during the call, which keeps no pointer that is read after it.
            unsafe cnghttp2_receive(session, region.baseAddress, region.count, &taken)
        }
        switch outcome {
        case CNGHTTP2_DONE: break
        case CNGHTTP2_NOT_HTTP2: fail(unsafe cnghttp2_error_code(session))
        case CNGHTTP2_FAILED: fail(HTTP2ErrorCode.internalError)
        default: fail(HTTP2ErrorCode.enhanceYourCalm)
        }
        bookCounts()
        if unsafe cnghttp2_queued_frames(session) > settings.queuedFramesMax { fail(HTTP2ErrorCode.enhanceYourCalm) }
        return failure == nil ? taken : bytes.count
    }

    /// The next event; `nil` when all were taken.
    func nextEvent() -> HTTP2Event? {
        if let failure {
            guard !isFailureTold else { return nil }
            isFailureTold = true
            return .connectionError(code: failure)
        }
        if let event = following.next {
            following = (following.last, nil)
            return event
        }
        var record = cnghttp2_event()
        // The record is copied.
        while unsafe cnghttp2_next_event(session, &record) {
            if let event = interpret(record) { return event }
            if failure != nil { return nextEvent() }
        }
        return nil
    }

    /// Gives the client as much window again on the stream: these bytes were passed on.
    func consume(_ stream: Int32, _ byteCount: Int) {
        guard byteCount > 0 else { return }
        unsafe cnghttp2_consume(session, stream, byteCount)
    }

    // MARK: Bytes out

    /// Appends frames, at most `max` bytes and at least 64, and says how many bytes; 0: there is nothing to write now.
    /// Take the events afterwards.
    func produce(into buffer: inout ByteBuffer, max: Int) -> Int {
        guard !isDead else { return 0 }
        var outcome = CNGHTTP2_DONE
        let written = unsafe buffer.fillFreeSpace(minimum: Swift.min(max, 16_384 + 9), maximum: max) { region in
            var produced = 0
            guard let start = region.baseAddress else { return 0 }
            // The region is valid during the call, which keeps no pointer to it.
            outcome = unsafe cnghttp2_produce(
                session, start.assumingMemoryBound(to: UInt8.self), region.count, &produced)
            return produced
        }
        bookCounts()
        if outcome != CNGHTTP2_DONE {
            fail(HTTP2ErrorCode.internalError)
            isDead = true
        } else if failure != nil, written == 0 {
            isDead = true
        }
        return written
    }

    /// Whether more bytes of the client mean anything.
    var wantsRead: Bool { unsafe failure == nil && cnghttp2_wants_read(session) }
    /// Whether `produce` has something.
    var wantsWrite: Bool { unsafe !isDead && cnghttp2_wants_write(session) }
    /// Whether the connection is to be closed.
    var isFinished: Bool { !wantsRead && !wantsWrite }
    /// Gives back the memory that only moving bytes need: for a connection that idles.
    func trim() {
        unsafe cnghttp2_trim(session)
        headBytes.release()
    }

    /// Whether a head, or trailers, have begun and are not complete.
    var isReadingHead: Bool { unsafe cnghttp2_block_is_open(session) }

    /// Bytes of memory that the session holds, `headBytes` aside.
    var memoryHeld: Int { unsafe cnghttp2_memory(session) }

    // MARK: Ends

    /// Ends a stream at once; `exchangeEnded` is still to be called.
    func reset(_ stream: Int32, code: UInt32) {
        guard streams.update(stream, { $0.wasReset = true }) != nil else { return }
        unsafe cnghttp2_reset(session, stream, code)
    }

    /// The exchange of a stream is over, and no one works on it any more: only now it stops counting as a stream that
    /// is under way. Call it once for each `requestHead` and `refused`. A stream without a whole answer is reset.
    func exchangeEnded(_ stream: Int32) {
        guard let entry = streams.release(stream) else { return }
        if entry.isClosed {
            streams.remove(stream)
        } else if !entry.isAnswered, !entry.wasReset {
            reset(stream, code: HTTP2ErrorCode.internalError)
        } else if entry.responseSent, !entry.requestEnded {
            reset(stream, code: HTTP2ErrorCode.noError)
        }
    }

    /// Says that the connection will end soon; what the client sends meanwhile is still served. Some time later,
    /// `goAway` ends it in earnest.
    func announceEnd() { unsafe cnghttp2_announce_end(session) }

    /// Serves no new stream; those under way are finished, then the connection is.
    func goAway() { unsafe cnghttp2_go_away(session, HTTP2ErrorCode.noError) }

    /// Ends the connection: nothing is written but GOAWAY.
    func fail(_ code: UInt32) {
        guard failure == nil else { return }
        failure = code
        unsafe cnghttp2_terminate(session, code)
    }

    // MARK: The glitch account

    /// Books a glitch that the owner knows of, such as a head that `RequestHead` refused.
    func book(_ glitch: HTTP2Glitch, count: Int = 1) {
        glitches.add(glitch, count: count, at: now)
        if glitches.isFull { fail(HTTP2ErrorCode.enhanceYourCalm) }
    }

    private func bookCounts() {
        guard unsafe cnghttp2_has_counts(session) else { return }
        glitches.sent(bytes: Int(unsafe cnghttp2_take_count(session, CNGHTTP2_COUNT_OUTPUT_BYTES)))
        glitches.sent(smallMessages: Int(unsafe cnghttp2_take_count(session, CNGHTTP2_COUNT_SMALL_OUTPUT)))
        for (kind, glitch) in HTTP2Session.countedGlitches {
            book(glitch, count: Int(unsafe cnghttp2_take_count(session, kind)))
        }
    }

    private static let countedGlitches: [(cnghttp2_count_kind, HTTP2Glitch)] = [
        (CNGHTTP2_COUNT_SETTINGS, .settings), (CNGHTTP2_COUNT_PING, .ping), (CNGHTTP2_COUNT_PRIORITY, .priority),
        (CNGHTTP2_COUNT_RESET, .reset), (CNGHTTP2_COUNT_WINDOW_UPDATE, .windowUpdate),
        (CNGHTTP2_COUNT_SMALL_WINDOW_UPDATE, .smallWindowUpdate), (CNGHTTP2_COUNT_CONTINUATION, .continuation),
        (CNGHTTP2_COUNT_UNKNOWN, .unknownFrame), (CNGHTTP2_COUNT_EMPTY_DATA, .emptyData),
        (CNGHTTP2_COUNT_INVALID, .invalidFrame),
    ]

    // MARK: Events

    private func interpret(_ record: cnghttp2_event) -> HTTP2Event? {
        let stream = record.stream
        switch record.kind {
        case CNGHTTP2_EVENT_FIELDS:
            let isRequest = record.flags & UInt32(CNGHTTP2_FLAG_REQUEST) != 0
            return isRequest ? requestArrived(record) : trailersArrived(record)
        case CNGHTTP2_EVENT_DATA: return dataArrived(record)
        case CNGHTTP2_EVENT_DATA_END: return requestEnded(stream)
        case CNGHTTP2_EVENT_RESET:
            if let entry = streams[stream], !entry.hasResponded { book(.resetBeforeAnswer) }
            return nil
        case CNGHTTP2_EVENT_CLOSED: return closed(stream, code: record.code)
        case CNGHTTP2_EVENT_GOAWAY: return .goAway(code: record.code)
        case CNGHTTP2_EVENT_SENT_END: return responseEnded(stream)
        case CNGHTTP2_EVENT_SENT_GOAWAY:
            // nghttp2 found the connection broken by itself.
            if record.code != HTTP2ErrorCode.noError { fail(record.code) }
            return nil
        case CNGHTTP2_EVENT_DRAINED: return streams[stream]?.isHeld == true ? .outputDrained(stream: stream) : nil
        default: return nil
        }
    }

    private func isLast(_ record: cnghttp2_event) -> Bool {
        record.flags & UInt32(CNGHTTP2_FLAG_END_STREAM) != 0
    }

    private func isTooLarge(_ record: cnghttp2_event) -> Bool {
        record.flags & UInt32(CNGHTTP2_FLAG_TOO_LARGE) != 0
    }

    private func requestArrived(_ record: cnghttp2_event) -> HTTP2Event? {
        let stream = record.stream
        // A request that was reset by what came with it never becomes an exchange.
        guard unsafe cnghttp2_is_open(session, stream) else {
            book(.resetBeforeAnswer)
            return .glitch(.resetBeforeAnswer)
        }
        guard streams.heldCount < settings.concurrentStreamsMax else {
            unsafe cnghttp2_reset(session, stream, HTTP2ErrorCode.refusedStream)
            book(.refusedStream)
            return .glitch(.refusedStream)
        }
        var entry = HTTP2Stream(number: stream)
        entry.requestEnded = isLast(record)
        headBytes.removeAll()
        var reading = HTTP2RequestReading.refused(status: 431)
        if !isTooLarge(record) {
            // The arena is valid until the next receive, and holds what the event names.
            let section = unsafe UnsafeBufferPointer(
                start: cnghttp2_arena(session).map { unsafe $0 + Int(record.offset) }, count: Int(record.length))
            reading = unsafe HTTP2RequestWriter.write(
                section.span, endsStream: entry.requestEnded, allowsExtendedConnect: settings.allowsExtendedConnect,
                into: &headBytes)
        }
        switch reading {
        case .malformed:
            unsafe cnghttp2_reset(session, stream, HTTP2ErrorCode.protocolError)
            book(.malformed)
            return .glitch(.malformed)
        case .refused(let status):
            entry.discards = true
            streams.append(entry)
            book(.refused)
            return .refused(stream: stream, status: status)
        case .written(let contentLength, let isExtendedConnect):
            entry.declared = contentLength
            entry.isTunnel = isExtendedConnect
            streams.append(entry)
            return .requestHead(
                stream: stream, endsStream: entry.requestEnded, isExtendedConnect: isExtendedConnect)
        }
    }

    private func trailersArrived(_ record: cnghttp2_event) -> HTTP2Event? {
        let stream = record.stream
        guard let entry = streams[stream], !entry.wasReset, !entry.isClosed else { return nil }
        headBytes.removeAll()
        let hasWholeBody = entry.discards || entry.received == entry.declared ?? entry.received
        var isValid = isLast(record) && !entry.isTunnel && hasWholeBody
        if isValid, !entry.discards, !isTooLarge(record) {
            // As above.
            let section = unsafe UnsafeBufferPointer(
                start: cnghttp2_arena(session).map { unsafe $0 + Int(record.offset) }, count: Int(record.length))
            isValid = unsafe HTTP2RequestWriter.writeTrailers(section.span, into: &headBytes)
        }
        guard isValid else { return malformed(stream) }
        guard !isTooLarge(record) else {
            book(.refused)
            return resetByUs(stream, code: HTTP2ErrorCode.enhanceYourCalm)
        }
        return requestEnded(stream, hasTrailers: !headBytes.isEmpty)
    }

    private func dataArrived(_ record: cnghttp2_event) -> HTTP2Event? {
        let stream = record.stream
        let count = Int(record.length)
        guard let entry = streams[stream], !entry.wasReset, !entry.isClosed, !entry.discards else {
            unsafe cnghttp2_consume(session, stream, count)
            return nil
        }
        let range = Int(record.offset)..<Int(record.offset) + count
        let (received, overflows) = entry.received.addingReportingOverflow(UInt64(count))
        guard !overflows, received <= entry.declared ?? received else {
            unsafe cnghttp2_consume(session, stream, count)
            return malformed(stream)
        }
        // Of a body that is complete by its length the last byte waits for the end of the stream: more may come, or
        // none, and no upstream may take a malformed request for a whole one (RFC 9113 section 8.1.1).
        let holdsBack = received == entry.declared && !endsNext(stream)
        streams.update(stream) {
            $0.received = received
            if holdsBack { $0.heldBack = UInt8(truncatingIfNeeded: record.code) }
        }
        guard holdsBack else { return .data(stream: stream, range: range) }
        let passed = range.dropLast()
        return passed.isEmpty ? nil : .data(stream: stream, range: passed)
    }

    /// Whether the next event is the end of the stream.
    private func endsNext(_ stream: Int32) -> Bool {
        var record = cnghttp2_event()
        // The record is copied.
        guard unsafe cnghttp2_peek_event(session, &record) else { return false }
        return record.kind == CNGHTTP2_EVENT_DATA_END && record.stream == stream
    }

    private func requestEnded(_ stream: Int32, hasTrailers: Bool = false) -> HTTP2Event? {
        guard let entry = streams[stream], !entry.wasReset, !entry.isClosed else { return nil }
        guard entry.received == entry.declared ?? entry.received || entry.discards else { return malformed(stream) }
        streams.update(stream) { $0.requestEnded = true }
        guard !entry.discards else { return nil }
        let end = HTTP2Event.endOfRequest(stream: stream)
        let trailers = HTTP2Event.trailers(stream: stream)
        if let byte = entry.heldBack {
            following = hasTrailers ? (trailers, end) : (end, nil)
            return .lastByte(stream: stream, byte)
        }
        guard hasTrailers else { return end }
        following = (end, nil)
        return trailers
    }

    private func responseEnded(_ stream: Int32) -> HTTP2Event? {
        guard let entry = streams.update(stream, { $0.responseSent = true }) else { return nil }
        // The answer to a request that was refused is no honest work.
        if !entry.discards { glitches.answered() }
        if !entry.requestEnded, !entry.isTunnel || !entry.isHeld {
            // The rest of the body serves nobody (RFC 9113 section 8.1).
            streams.update(stream) { $0.discards = true }
            unsafe cnghttp2_reset(session, stream, HTTP2ErrorCode.noError)
        }
        return entry.isHeld ? .responseSent(stream: stream) : nil
    }

    private func closed(_ stream: Int32, code: UInt32) -> HTTP2Event? {
        guard let entry = streams.update(stream, { $0.isClosed = true }) else { return nil }
        guard entry.isHeld else {
            streams.remove(stream)
            return nil
        }
        let isWhole = entry.responseSent && (entry.requestEnded || !entry.isTunnel)
        return entry.wasReset || isWhole ? nil : .streamReset(stream: stream, code: code)
    }

    /// A request turned out to be malformed behind its head.
    private func malformed(_ stream: Int32) -> HTTP2Event? {
        book(.malformed)
        return resetByUs(stream, code: HTTP2ErrorCode.protocolError)
    }

    private func resetByUs(_ stream: Int32, code: UInt32) -> HTTP2Event? {
        let isHeld = streams[stream]?.isHeld ?? false
        reset(stream, code: code)
        return isHeld ? .streamReset(stream: stream, code: code) : nil
    }
}

/// Blocks of memory that the HTTP/2 sessions of one thread hand on to each other.
@safe final class HTTP2SpareMemory {
    // Owned: freed in deinit; `nil` when there was no memory, and sessions ask the allocator then.
    fileprivate let blocks = unsafe cnghttp2_spare_new()

    deinit { unsafe cnghttp2_spare_free(blocks) }
}
