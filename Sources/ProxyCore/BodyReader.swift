internal import HTTPModel

/// Where a message body ends, found while its bytes pass by; does no I/O.
struct BodyReader {
    /// What the next bytes are.
    enum Event: Equatable {
        /// Body bytes, as a range of what was passed in.
        case data(Range<Int>)
        /// Bytes of the trailer section, where it is kept.
        case trailers(Range<Int>)
        /// All bytes were taken; more are needed.
        case needMore
        /// The body is complete; bytes that were not consumed belong to the next message.
        case finished
        /// The peer broke the framing.
        case failed
    }

    private enum State {
        case finished
        case length(UInt64)
        case chunked(ChunkedDecoder)
        case untilClose
        case untilEnd(isEnding: Bool)
        case failed
    }

    private var state = State.finished

    /// A message without a body.
    init() {}

    init(_ framing: BodyFraming, extensionBytesMax: Int) {
        switch framing {
        case .none, .length(0): state = .finished
        case .length(let count): state = .length(count)
        case .chunked: state = .chunked(ChunkedDecoder(limits: ChunkLimits(extensionBytesMax: extensionBytesMax)))
        }
    }

    init(_ framing: ResponseFraming, extensionBytesMax: Int) {
        switch framing {
        case .none, .length(0): state = .finished
        case .length(let count): state = .length(count)
        case .chunked: state = .chunked(ChunkedDecoder(limits: ChunkLimits(extensionBytesMax: extensionBytesMax)))
        case .untilClose: state = .untilClose
        }
    }

    /// A message whose bytes come without framing between them; `endArrived` says when it is over.
    static func untilEnd() -> BodyReader {
        var reader = BodyReader()
        reader.state = .untilEnd(isEnding: false)
        return reader
    }

    var isFinished: Bool { if case .finished = state { true } else { false } }
    var endsAtClose: Bool { if case .untilClose = state { true } else { false } }

    /// Whether the body's bytes come without framing between them.
    var isBare: Bool {
        switch state {
        case .length, .untilClose: true
        case .finished, .chunked, .untilEnd, .failed: false
        }
    }

    /// How many bytes may be read without reading past this message; `Int.max` where the framing cannot say.
    var readableMax: Int {
        if case .length(let remaining) = state { return Int(clamping: remaining) }
        return .max
    }

    /// Looks at the next bytes: how many were consumed, and what they were.
    mutating func next(_ bytes: Span<UInt8>) -> (consumed: Int, event: Event) {
        switch state {
        case .finished: return (0, .finished)
        case .failed: return (0, .failed)
        case .untilClose:
            return bytes.count == 0 ? (0, .needMore) : (bytes.count, .data(0..<bytes.count))
        case .untilEnd(let isEnding):
            if bytes.count > 0 { return (bytes.count, .data(0..<bytes.count)) }
            guard isEnding else { return (0, .needMore) }
            state = .finished
            return (0, .finished)
        case .length(let remaining):
            if bytes.count == 0 { return (0, .needMore) }
            let count = Int(min(UInt64(bytes.count), remaining))
            state = remaining == UInt64(count) ? .finished : .length(remaining - UInt64(count))
            return (count, .data(0..<count))
        case .chunked(var decoder):
            state = .failed
            let (consumed, event) = decoder.next(bytes)
            switch event {
            case .needMore:
                state = .chunked(decoder)
                return (consumed, .needMore)
            case .data(let range):
                state = .chunked(decoder)
                return (consumed, .data(range))
            case .trailers(let range):
                state = .chunked(decoder)
                return (consumed, .trailers(range))
            case .finished:
                state = .finished
                return (consumed, .finished)
            case .failed: return (consumed, .failed)
            }
        }
    }

    /// From now on the bytes of a trailer section are given out.
    mutating func keepTrailers() {
        guard case .chunked(var decoder) = state else { return }
        decoder.keepsTrailers = true
        state = .chunked(decoder)
    }

    /// The peer closed: whether that is a lawful end of this body.
    mutating func closed() -> Bool {
        switch state {
        case .finished: return true
        case .untilClose:
            state = .finished
            return true
        case .length, .chunked, .untilEnd, .failed: return false
        }
    }

    /// What carries the message says that all of it has come: with the bytes that wait, it is complete.
    mutating func endArrived() {
        if case .untilEnd = state { state = .untilEnd(isEnding: true) }
    }
}
