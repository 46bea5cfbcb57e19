/// Why the head of an upstream's response is refused; the client gets 502 and the upstream's connection is closed.
public enum ResponseHeadError: Error, Equatable, Sendable {
    /// The bytes are no head (RFC 9112 sections 2.2 and 5).
    case syntax(HeadSyntaxError)
    /// The first line is no `HTTP/1.x`, a space, three digits from 100 to 599, and a reason or none.
    case invalidStatusLine
    /// A major version other than 1.
    case unsupportedVersion
    /// The head does not fit into the bytes allowed.
    case headTooLong
    /// More field lines than allowed.
    case tooManyFields
    /// Both Content-Length and Transfer-Encoding.
    case bothLengthAndTransferEncoding
    /// More than one Content-Length line, equal or not.
    case duplicateContentLength
    /// A Content-Length that is not 1 to 20 digits within 64 bits; lists are none.
    case invalidContentLength
    /// A Transfer-Encoding other than one `chunked`.
    case unsupportedTransferEncoding
    /// Transfer-Encoding in an HTTP/1.0 response (RFC 9112 section 6.1).
    case transferEncodingBeforeHTTP11
    /// A Connection value that is no list of tokens, is too long, or names a field that no hop may remove.
    case invalidConnection

    /// The status that answers the client.
    public var status: Int { 502 }
}

/// What a call of `ResponseHead.parse` found.
public enum ResponseHeadProgress: Equatable, Sendable {
    /// The head goes on; call again with the same bytes and more.
    case incomplete
    /// The head is the first `byteCount` bytes.
    case complete(byteCount: Int)
    /// The head is refused.
    case failed(ResponseHeadError)
}

/// How the end of a response body is found (RFC 9112 section 6.3).
public enum ResponseFraming: Equatable, Sendable {
    /// There is no body.
    case none
    /// A body of this many bytes.
    case length(UInt64)
    /// A chunked body.
    case chunked
    /// The body ends with the connection, which cannot be used again.
    case untilClose
}

/// The head of an HTTP/1.1 or HTTP/1.0 response (RFC 9112), read as its bytes arrive, as strictly as a request's.
/// After `complete` or `failed`, call `reset()` before the next head.
public struct ResponseHead: ~Copyable {
    /// The status code, 100 to 599.
    public private(set) var status = 0
    /// 0 for HTTP/1.0, 1 for HTTP/1.1 and any later HTTP/1.x.
    public private(set) var minorVersion: UInt8 = 1
    /// The field lines.
    public var fields: FieldTable
    /// Whether version and fields let the connection be used again; not so behind a body `untilClose`.
    public private(set) var keepsAlive = false
    /// The value of Upgrade, if Connection names it and the version is 1.1.
    public private(set) var upgrade: ByteRange?

    private var isReadingFields = false
    private var position = 0
    private var statusLine = StatusLine()
    private var reader = FieldLineReader()
    private var connection = ConnectionOptions()
    private var contentLength: UInt64?
    private var isChunked = false
    private var outcome = ResponseHeadProgress.incomplete

    /// An empty head with room for `fieldCapacity` field lines.
    public init(fieldCapacity: Int = 128) {
        fields = FieldTable(capacity: fieldCapacity)
    }

    /// Reads on. `bytes` begins with the bytes of the calls before, wherever they are now in memory.
    public mutating func parse(_ bytes: Span<UInt8>, limits: HeadLimits) -> ResponseHeadProgress {
        guard outcome == .incomplete else { return outcome }
        let end = min(bytes.count, limits.bytesMax)
        if !isReadingFields, let error = readStatusLine(bytes, to: end) {
            outcome = .failed(error)
        } else if isReadingFields {
            outcome = readFields(bytes, to: end, fieldsMax: limits.fieldsMax)
        }
        if outcome == .incomplete, bytes.count >= limits.bytesMax { outcome = .failed(.headTooLong) }
        return outcome
    }

    /// Makes ready for the next head, such as the one that follows a 1xx; the room for fields is kept.
    public mutating func reset() {
        status = 0
        minorVersion = 1
        fields.removeAll()
        keepsAlive = false
        upgrade = nil
        isReadingFields = false
        position = 0
        statusLine = StatusLine()
        connection = ConnectionOptions()
        contentLength = nil
        isChunked = false
        outcome = .incomplete
    }

    /// How the body ends, which depends on the request too (RFC 9112 section 6.3). Only for a complete head.
    ///
    /// A 2xx to CONNECT, which would open a tunnel, is not told apart: CONNECT is never passed on.
    public func framing(requestMethod: Method) -> ResponseFraming {
        if requestMethod == .head || status == 304 || forbidsBody { return .none }
        if isChunked { return .chunked }
        return contentLength.map { .length($0) } ?? .untilClose
    }

    /// The index of the first line of a known field, or nil.
    public func firstIndex(of known: KnownField) -> Int? { fields.firstIndex(of: known) }

    /// Marks as dropped what concerns the upstream's connection only, as `RequestHead.markHopByHop(in:)` does, and
    /// Content-Length where the status forbids it (RFC 9110 section 8.6).
    public mutating func markHopByHop(in bytes: Span<UInt8>) {
        fields.markHopByHop(in: bytes)
        if forbidsBody, let index = fields.firstIndex(of: .contentLength) { fields[index].isDropped = true }
    }

    /// Whether the status has neither body nor framing fields.
    private var forbidsBody: Bool { status < 200 || status == 204 }

    private mutating func readStatusLine(_ bytes: Span<UInt8>, to end: Int) -> ResponseHeadError? {
        var index = position
        defer { position = index }
        if index == 0, end >= 8 { index = statusLine.readVersion(bytes.word(at: 0)) }
        while index < end {
            let byte = bytes[index]
            index += 1
            switch statusLine.read(byte) {
            case .more: continue
            case .failed(let error): return error
            case .end:
                guard (100...599).contains(statusLine.status) else { return .invalidStatusLine }
                status = statusLine.status
                minorVersion = statusLine.minorVersion
                reader.start(at: index)
                isReadingFields = true
                return nil
            }
        }
        return nil
    }

    private mutating func readFields(_ bytes: Span<UInt8>, to end: Int, fieldsMax: Int) -> ResponseHeadProgress {
        while true {
            switch reader.next(bytes, to: end, into: &fields, fieldsMax: fieldsMax) {
            case .needsMore: return .incomplete
            case .failed(let error): return .failed(.syntax(error))
            case .tooMany: return .failed(.tooManyFields)
            case .line:
                let line = fields[fields.count - 1]
                guard line.known != .other, let error = interpret(line, bytes) else { continue }
                return .failed(error)
            case .end:
                if let error = finish(bytes) { return .failed(error) }
                return .complete(byteCount: reader.position)
            }
        }
    }

    private mutating func interpret(_ line: FieldLine, _ bytes: Span<UInt8>) -> ResponseHeadError? {
        let value = line.value.range
        switch line.known {
        case .contentLength:
            guard contentLength == nil else { return .duplicateContentLength }
            guard let length = bytes.decimal(in: value) else { return .invalidContentLength }
            contentLength = length
        case .transferEncoding:
            guard !isChunked, case .chunked = TransferEncoding.read(bytes, value) else {
                return .unsupportedTransferEncoding
            }
            isChunked = true
        case .connection:
            guard connection.read(bytes, value) == nil else { return .invalidConnection }
        default: break
        }
        return nil
    }

    /// The rules that need the whole head.
    private mutating func finish(_ bytes: Span<UInt8>) -> ResponseHeadError? {
        guard !isChunked || contentLength == nil else { return .bothLengthAndTransferEncoding }
        guard !isChunked || minorVersion >= 1 else { return .transferEncodingBeforeHTTP11 }
        // An upstream that announces a body where none can be is likely to send it: nothing behind it can be trusted.
        let announcesForbiddenBody = forbidsBody && (isChunked || (contentLength ?? 0) > 0)
        keepsAlive = connection.keepsAlive(minorVersion: minorVersion) && !announcesForbiddenBody
        if minorVersion >= 1, connection.hasUpgrade, let index = fields.firstIndex(of: .upgrade) {
            let value = fields[index].value
            upgrade = value.isEmpty ? nil : value
        }
        return nil
    }
}
