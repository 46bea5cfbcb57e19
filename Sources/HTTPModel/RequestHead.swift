/// Bounds of a head.
public struct HeadLimits: Equatable, Sendable {
    /// The most bytes of a head, its empty line included; at most 65,535.
    public var bytesMax: Int
    /// The most field lines.
    public var fieldsMax: Int

    /// Memberwise; `bytesMax` is 1 to 65,535.
    public init(bytesMax: Int, fieldsMax: Int) {
        precondition((1...65_535).contains(bytesMax) && fieldsMax >= 0)
        self.bytesMax = bytesMax
        self.fieldsMax = fieldsMax
    }
}

/// What a call of `RequestHead.parse` found.
public enum HeadProgress: Equatable, Sendable {
    /// The head goes on; call again with the same bytes and more.
    case incomplete
    /// The head is the first `byteCount` bytes; what follows is its body or the next request.
    case complete(byteCount: Int)
    /// The head is refused; answer `error.status` and close.
    case failed(RequestHeadError)
}

/// The form of a request target (RFC 9112 section 3.2).
public enum TargetForm: UInt8, Sendable {
    /// `/path?query`.
    case origin
    /// `http://host/path?query`, or `https:`; its authority replaces Host.
    case absolute
    /// `host:port`, of CONNECT.
    case authority
    /// `*`, of OPTIONS.
    case asterisk
}

/// How the end of a request body is found (RFC 9112 section 6).
public enum BodyFraming: Equatable, Sendable {
    /// There is no body.
    case none
    /// A body of this many bytes.
    case length(UInt64)
    /// A chunked body.
    case chunked
}

/// The head of an HTTP/1.1 or HTTP/1.0 request (RFC 9112), read as its bytes arrive.
///
/// Only offsets are kept: whoever owns the bytes passes them in again. What two servers could read in two ways is
/// refused, also where the RFC would allow to guess. After `complete` or `failed`, call `reset()` before the next head.
public struct RequestHead: ~Copyable {
    /// The method.
    public private(set) var method = Method.other
    /// The method as it was sent.
    public private(set) var methodRange = ByteRange(0, 0)
    /// The whole request target.
    public private(set) var target = ByteRange(0, 0)
    /// The form of the target.
    public private(set) var form = TargetForm.origin
    /// The path of the target: `*` for the asterisk form, empty for the authority form and for `http://host`.
    public private(set) var path = ByteRange(0, 0)
    /// The query without its `?`; empty also if there is none.
    public private(set) var query = ByteRange(0, 0)
    /// Host and port that count: of the target in absolute and authority form, else of Host. Empty only in HTTP/1.0.
    public private(set) var authority = ByteRange(0, 0)
    /// 0 for HTTP/1.0, 1 for HTTP/1.1 and any later HTTP/1.x.
    public private(set) var minorVersion: UInt8 = 1
    /// The field lines.
    public var fields: FieldTable
    /// How the body ends.
    public private(set) var framing = BodyFraming.none
    /// Whether the client wants the connection kept.
    public private(set) var keepsAlive = false
    /// Whether the client waits for a 100 before it sends the body; never in HTTP/1.0.
    public private(set) var expectsContinue = false
    /// Whether the client takes trailer fields (RFC 9110 section 10.1.4).
    public private(set) var acceptsTrailers = false
    /// The value of Upgrade, if Connection names it and the version is 1.1.
    public private(set) var upgrade: ByteRange?

    private var step = Step.beforeLine
    private var position = 0
    private var lineStart = 0
    private var hasSkippedLine = false
    private var hasOtherMajorVersion = false
    private var reader = FieldLineReader()
    private var connection = ConnectionOptions()
    private var contentLength: UInt64?
    private var hostValue: ByteRange?
    private var upgradeValue: ByteRange?
    private var isChunked = false
    private var hasExpect = false
    /// The single-valued fields that have come, one bit each.
    private var singleFields: UInt64 = 0
    private var outcome = HeadProgress.incomplete

    private enum Step { case beforeLine, emptyLineFeed, method, target, version, fields }

    /// An empty head with room for `fieldCapacity` field lines.
    public init(fieldCapacity: Int = 128) {
        fields = FieldTable(capacity: fieldCapacity)
    }

    /// Reads on. `bytes` begins with the bytes of the calls before, wherever they are now in memory.
    ///
    /// Each byte is looked at once, however the head is cut, and an error shows with the byte that makes it one.
    public mutating func parse(_ bytes: Span<UInt8>, limits: HeadLimits) -> HeadProgress {
        guard outcome == .incomplete else { return outcome }
        let end = min(bytes.count, limits.bytesMax)
        if step != .fields, let error = readRequestLine(bytes, to: end) {
            outcome = .failed(error)
        } else if step == .fields {
            outcome = readFields(bytes, to: end, fieldsMax: limits.fieldsMax)
        }
        if outcome == .incomplete, bytes.count >= limits.bytesMax {
            outcome = .failed(step == .fields ? .headTooLong : .targetTooLong)
        }
        return outcome
    }

    /// Makes ready for the next head; the room for fields is kept.
    public mutating func reset() {
        method = .other
        methodRange = ByteRange(0, 0)
        target = methodRange
        form = .origin
        path = methodRange
        query = methodRange
        authority = methodRange
        minorVersion = 1
        fields.removeAll()
        framing = .none
        keepsAlive = false
        expectsContinue = false
        acceptsTrailers = false
        upgrade = nil
        step = .beforeLine
        position = 0
        lineStart = 0
        hasSkippedLine = false
        connection = ConnectionOptions()
        contentLength = nil
        hostValue = nil
        upgradeValue = nil
        isChunked = false
        hasExpect = false
        singleFields = 0
        outcome = .incomplete
    }

    /// The index of the first line of a known field, or nil.
    public func firstIndex(of known: KnownField) -> Int? { fields.firstIndex(of: known) }

    /// Marks as dropped what concerns this connection only (RFC 9110 section 7.6.1): Connection and all fields that
    /// it names, Keep-Alive, Proxy-Connection, TE, Trailer, Transfer-Encoding, Upgrade, HTTP2-Settings,
    /// Proxy-Authenticate and Proxy-Authorization. Expect stays. Call it before own fields are written.
    public mutating func markHopByHop(in bytes: Span<UInt8>) { fields.markHopByHop(in: bytes) }

    private mutating func readRequestLine(_ bytes: Span<UInt8>, to end: Int) -> RequestHeadError? {
        var index = position
        defer { position = index }
        while index < end {
            switch step {
            case .beforeLine:
                // One empty line is forgiven (RFC 9112 section 2.2): old clients send one behind a body.
                switch bytes[index] {
                case Byte.lineFeed: return .syntax(.bareLineFeed)
                case Byte.carriageReturn:
                    guard !hasSkippedLine else { return .emptyLines }
                    step = .emptyLineFeed
                    index += 1
                default:
                    lineStart = index
                    step = .method
                }
            case .emptyLineFeed:
                guard bytes[index] == Byte.lineFeed else { return .syntax(.bareCarriageReturn) }
                hasSkippedLine = true
                index += 1
                step = .beforeLine
            case .method:
                while index < end, ByteTable.has(bytes[index], ByteTable.token) { index += 1 }
                guard index < end else { break }
                guard bytes[index] == Byte.space, index > lineStart else {
                    return bytes[index] == Byte.lineFeed ? .syntax(.bareLineFeed) : .invalidMethod
                }
                methodRange = ByteRange(lineStart, index)
                method = Method.find(bytes, lineStart..<index)
                index += 1
                lineStart = index
                step = .target
            case .target:
                while index < end, ByteTable.has(bytes[index], ByteTable.target) { index += 1 }
                guard index < end else { break }
                guard bytes[index] == Byte.space, index > lineStart else {
                    return targetError(bytes[index], isEmpty: index == lineStart)
                }
                target = ByteRange(lineStart, index)
                if let error = splitTarget(bytes, lineStart..<index) { return error }
                index += 1
                lineStart = index
                step = .version
            case .version:
                if index == lineStart, end - index >= Self.versionLength, readWholeVersion(bytes, at: index) {
                    index += Self.versionLength
                    reader.start(at: index)
                    step = .fields
                    return nil
                }
                if let error = readVersion(bytes[index], at: index - lineStart) { return error }
                index += 1
                guard index - lineStart == Self.versionLength else { continue }
                reader.start(at: index)
                step = .fields
                return nil
            case .fields:
                return nil
            }
        }
        return nil
    }

    private func targetError(_ byte: UInt8, isEmpty: Bool) -> RequestHeadError {
        switch byte {
        case Byte.lineFeed: .syntax(.bareLineFeed)
        case Byte.carriageReturn where !isEmpty: .missingVersion
        default: .invalidTarget
        }
    }

    /// `HTTP/1.1` and the line's end.
    private static let versionLength = 10

    /// Reads `HTTP/1.1` or `HTTP/1.0` with the line's end at once; false, and nothing read, if it is anything else.
    private mutating func readWholeVersion(_ bytes: Span<UInt8>, at index: Int) -> Bool {
        let word = bytes.word(at: index)
        // The last byte is the digit, and only its lowest bit may differ.
        guard word & ~(1 << 56) == 0x302E_312F_5054_5448, bytes[index + 8] == Byte.carriageReturn,
            bytes[index + 9] == Byte.lineFeed
        else { return false }
        minorVersion = UInt8(truncatingIfNeeded: word >> 56) & 1
        return true
    }

    private mutating func readVersion(_ byte: UInt8, at offset: Int) -> RequestHeadError? {
        switch offset {
        case 0..<5:
            let name: StaticString = "HTTP/"
            // A static string lives as long as the process; offset is below its five bytes.
            if unsafe name.utf8Start[offset] == byte { return nil }
        case 5:
            guard Byte.isDigit(byte) else { break }
            hasOtherMajorVersion = byte != Byte.zero + 1
            return nil
        case 6:
            if byte == Byte.dot { return nil }
        case 7:
            guard Byte.isDigit(byte) else { break }
            minorVersion = min(byte - Byte.zero, 1)
            return nil
        case 8:
            // A version that is none is the client's mistake, one that is not ours is not.
            if byte == Byte.carriageReturn { return hasOtherMajorVersion ? .unsupportedVersion : nil }
        default:
            return byte == Byte.lineFeed ? nil : .syntax(.bareCarriageReturn)
        }
        if byte == Byte.lineFeed { return .syntax(.bareLineFeed) }
        return offset == 0 && byte == Byte.carriageReturn ? .missingVersion : .invalidVersion
    }

    /// Finds form, authority, path and query. Only CONNECT has the authority form, only OPTIONS the asterisk form;
    /// of absolute targets only `http` and `https` with an authority are for a gateway.
    private mutating func splitTarget(_ bytes: Span<UInt8>, _ range: Range<Int>) -> RequestHeadError? {
        if method == .connect {
            guard Authority.isValid(bytes, range, needsPort: true) else { return .invalidTarget }
            form = .authority
            authority = target
            return nil
        }
        var pathStart = range.lowerBound
        if bytes[pathStart] == Byte.slash {
            form = .origin
        } else if range.count == 1, bytes[pathStart] == UInt8(ascii: "*") {
            guard method == .options else { return .invalidTarget }
            form = .asterisk
        } else {
            guard let hostStart = endOfScheme(bytes, range) else { return .invalidTarget }
            pathStart = hostStart
            while pathStart < range.upperBound, bytes[pathStart] != Byte.slash, bytes[pathStart] != Byte.question {
                pathStart += 1
            }
            guard Authority.isValid(bytes, hostStart..<pathStart) else { return .invalidHost }
            form = .absolute
            authority = ByteRange(hostStart, pathStart)
        }
        let question = bytes.firstIndex(of: Byte.question, in: pathStart..<range.upperBound)
        path = ByteRange(pathStart, question ?? range.upperBound)
        query = ByteRange(question.map { $0 + 1 } ?? range.upperBound, range.upperBound)
        return nil
    }

    private func endOfScheme(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int? {
        for scheme in 7...8 where range.count >= scheme {
            let prefix = range.lowerBound..<range.lowerBound + scheme
            if bytes.holds(lowercased: scheme == 7 ? "http://" : "https://", in: prefix) { return prefix.upperBound }
        }
        return nil
    }

    private mutating func readFields(_ bytes: Span<UInt8>, to end: Int, fieldsMax: Int) -> HeadProgress {
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
                if let error = finish() { return .failed(error) }
                return .complete(byteCount: reader.position)
            }
        }
    }

    private mutating func interpret(_ line: FieldLine, _ bytes: Span<UInt8>) -> RequestHeadError? {
        if line.known.isSingleValued {
            let bit: UInt64 = 1 << UInt64(line.known.rawValue)
            guard singleFields & bit == 0 else { return .duplicateField }
            singleFields |= bit
        }
        let value = line.value.range
        switch line.known {
        case .host:
            guard hostValue == nil else { return .duplicateHost }
            guard Authority.isValid(bytes, value) else { return .invalidHost }
            hostValue = line.value
        case .contentLength:
            guard contentLength == nil else { return .duplicateContentLength }
            guard let length = bytes.decimal(in: value) else { return .invalidContentLength }
            contentLength = length
        case .transferEncoding:
            guard !isChunked else { return .duplicateTransferEncoding }
            switch TransferEncoding.read(bytes, value) {
            case .chunked: isChunked = true
            case .unsupported: return .unsupportedTransferCoding
            case .invalid: return .invalidTransferEncoding
            }
        case .connection:
            switch connection.read(bytes, value) {
            case nil: break
            case .invalid: return .invalidConnection
            case .protected: return .protectedConnectionOption
            case .tooMany: return .tooManyConnectionOptions
            }
        case .expect:
            guard !hasExpect, bytes.holds(lowercased: "100-continue", in: value) else { return .unsupportedExpectation }
            hasExpect = true
        case .te:
            var codings = ListElements(value)
            while let coding = codings.next(in: bytes) {
                if bytes.holds(lowercased: "trailers", in: coding) { acceptsTrailers = true }
            }
        case .upgrade:
            guard upgradeValue == nil else { return .duplicateUpgrade }
            upgradeValue = line.value
        default: break
        }
        return nil
    }

    /// The rules that need the whole head.
    private mutating func finish() -> RequestHeadError? {
        guard hostValue != nil || minorVersion == 0 else { return .missingHost }
        guard !isChunked || contentLength == nil else { return .bothLengthAndTransferEncoding }
        guard !isChunked || minorVersion >= 1 else { return .transferEncodingBeforeHTTP11 }
        if isChunked {
            framing = .chunked
        } else if let contentLength {
            framing = .length(contentLength)
        }
        if form == .origin || form == .asterisk, let hostValue { authority = hostValue }
        keepsAlive = connection.keepsAlive(minorVersion: minorVersion)
        expectsContinue = hasExpect && minorVersion >= 1
        if minorVersion >= 1, connection.hasUpgrade, let upgradeValue, !upgradeValue.isEmpty { upgrade = upgradeValue }
        return nil
    }
}
