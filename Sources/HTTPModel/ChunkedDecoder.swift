/// Bounds of a chunked body besides its data.
public struct ChunkLimits: Equatable, Sendable {
    /// The most bytes of all chunk extensions of a body together, from each `;` or blank to the line's end.
    public var extensionBytesMax: Int
    /// The most bytes of the trailer section, line ends included.
    public var trailerBytesMax: Int
    /// The most trailer fields.
    public var trailersMax: Int

    /// Memberwise, with bounds that no honest sender meets.
    public init(extensionBytesMax: Int = 4_096, trailerBytesMax: Int = 8_192, trailersMax: Int = 64) {
        self.extensionBytesMax = extensionBytesMax
        self.trailerBytesMax = trailerBytesMax
        self.trailersMax = trailersMax
    }
}

/// Why a chunked body is refused; where it ends is unknown, so the connection must be closed.
public enum ChunkError: Error, Equatable, Sendable {
    /// A chunk size that is not 1 to 16 hexadecimal digits.
    case invalidSize
    /// What follows a size is no chunk extension (RFC 9112 section 7.1.1).
    case invalidExtension
    /// More extension bytes than allowed.
    case extensionsTooLong
    /// Chunk data is not followed by CR LF.
    case missingLineEnd
    /// A CR without LF.
    case bareCarriageReturn
    /// An LF without CR.
    case bareLineFeed
    /// A trailer line that is no field line.
    case invalidTrailer
    /// More trailer bytes than allowed.
    case trailersTooLong
    /// More trailer fields than allowed.
    case tooManyTrailers
}

/// Finds the data in a chunked body (RFC 9112 section 7.1), strictly and without I/O.
///
/// Extensions and trailers are checked and counted. Extensions are dropped, and so are trailers unless `keepsTrailers`.
public struct ChunkedDecoder: Sendable {
    /// What a call found.
    public enum Event: Equatable, Sendable {
        /// All bytes are used up; the body goes on.
        case needMore
        /// These bytes of the span are data; call again with what follows the consumed bytes.
        case data(Range<Int>)
        /// These bytes belong to the trailer section, whose last line is empty; only where trailers are kept.
        case trailers(Range<Int>)
        /// The body ended with the consumed bytes.
        case finished
        /// The body is refused; further calls say the same.
        case failed(ChunkError)
    }

    /// Whether the bytes of the trailer section are given out.
    public var keepsTrailers = false
    /// The trailer fields met so far.
    public private(set) var trailerCount = 0
    /// Whether the body has ended.
    public var isFinished: Bool { state == .finished }

    private let limits: ChunkLimits
    private var state = State.size(digits: 0)
    /// The size being read, then the data bytes still to come.
    private var remaining: UInt64 = 0
    private var extensionBytes = 0
    private var trailerBytes = 0

    private enum State: Equatable {
        case size(digits: Int)
        /// Blanks after a size, a name or a value: only `;` may follow, or `=` after a name.
        case blanks(after: ExtensionPart)
        /// After `;` or `=`; blanks may come first.
        case beforeName, name, beforeValue, value, quoted, quotedPair, afterQuoted
        case sizeLineFeed
        case data, dataReturn, dataLineFeed
        case trailerStart, trailerName, trailerValue, trailerLineFeed, lastLineFeed
        case finished
        case failed(ChunkError)
    }

    private enum ExtensionPart { case size, name, value }

    /// At the beginning of a body.
    public init(limits: ChunkLimits = ChunkLimits()) {
        self.limits = limits
    }

    /// Reads `bytes` up to the next event. `consumed` bytes are done with, those of `data` included; the range of
    /// `data` is within them. Pass the rest in again until `needMore` or the end.
    public mutating func next(_ bytes: Span<UInt8>) -> (consumed: Int, event: Event) {
        var index = 0
        while true {
            switch state {
            case .finished: return (index, .finished)
            case .failed(let error): return (index, .failed(error))
            default: break
            }
            guard index < bytes.count else { return (index, .needMore) }
            if state == .data {
                let count = Int(min(remaining, UInt64(bytes.count - index)))
                remaining -= UInt64(count)
                if remaining == 0 { state = .dataReturn }
                return (index + count, .data(index..<index + count))
            }
            if keepsTrailers, isInTrailers {
                let start = index
                while index < bytes.count, isInTrailers {
                    state = step(bytes[index])
                    index += 1
                }
                if case .failed = state { continue }
                return (index, .trailers(start..<index))
            }
            state = step(bytes[index])
            index += 1
        }
    }

    private var isInTrailers: Bool {
        switch state {
        case .trailerStart, .trailerName, .trailerValue, .trailerLineFeed, .lastLineFeed: true
        default: false
        }
    }

    /// The state after `byte`, which is no data.
    private mutating func step(_ byte: UInt8) -> State {
        switch state {
        case .size(let digits): return stepSize(byte, digits: digits)
        case .sizeLineFeed:
            guard byte == Byte.lineFeed else { return .failed(.bareCarriageReturn) }
            return remaining == 0 ? .trailerStart : .data
        case .dataReturn:
            if byte == Byte.carriageReturn { return .dataLineFeed }
            return .failed(byte == Byte.lineFeed ? .bareLineFeed : .missingLineEnd)
        case .dataLineFeed: return byte == Byte.lineFeed ? .size(digits: 0) : .failed(.bareCarriageReturn)
        case .trailerStart, .trailerName, .trailerValue, .trailerLineFeed, .lastLineFeed: return stepTrailer(byte)
        case .blanks, .beforeName, .name, .beforeValue, .value, .quoted, .quotedPair, .afterQuoted:
            return stepExtension(byte)
        case .data, .finished, .failed: return state
        }
    }

    private mutating func stepSize(_ byte: UInt8, digits: Int) -> State {
        if let digit = Byte.hexValue(byte) {
            guard digits < 16 else { return .failed(.invalidSize) }
            // Before the first digit, remaining is 0: the chunk before it was used up.
            remaining = remaining << 4 | UInt64(digit)
            return .size(digits: digits + 1)
        }
        if byte == Byte.lineFeed { return .failed(.bareLineFeed) }
        guard digits > 0 else { return .failed(.invalidSize) }
        switch byte {
        case Byte.carriageReturn: return .sizeLineFeed
        case Byte.semicolon: return countExtension(.beforeName)
        case Byte.space, Byte.tab: return countExtension(.blanks(after: .size))
        default: return .failed(.invalidSize)
        }
    }

    /// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`. Blanks at the line's end are no part of it.
    private mutating func stepExtension(_ byte: UInt8) -> State {
        let isToken = ByteTable.has(byte, ByteTable.token)
        switch (state, byte) {
        case (.quoted, Byte.quote): return countExtension(.afterQuoted)
        case (.quoted, Byte.backslash): return countExtension(.quotedPair)
        case (.quoted, _) where byte == Byte.tab || !Byte.isControl(byte): return countExtension(.quoted)
        case (.quotedPair, _) where byte == Byte.tab || !Byte.isControl(byte): return countExtension(.quoted)
        case (_, Byte.lineFeed): return .failed(.bareLineFeed)
        case (.name, Byte.carriageReturn), (.value, Byte.carriageReturn), (.afterQuoted, Byte.carriageReturn):
            return .sizeLineFeed
        case (.name, Byte.semicolon), (.value, Byte.semicolon), (.afterQuoted, Byte.semicolon),
            (.blanks, Byte.semicolon):
            return countExtension(.beforeName)
        case (.name, Byte.equals), (.blanks(after: .name), Byte.equals): return countExtension(.beforeValue)
        case (.beforeValue, Byte.quote): return countExtension(.quoted)
        case (.beforeName, _) where isToken, (.name, _) where isToken: return countExtension(.name)
        case (.beforeValue, _) where isToken, (.value, _) where isToken: return countExtension(.value)
        case (.beforeName, _) where Byte.isBlank(byte), (.beforeValue, _) where Byte.isBlank(byte),
            (.blanks, _) where Byte.isBlank(byte):
            return countExtension(state)
        case (.name, _) where Byte.isBlank(byte): return countExtension(.blanks(after: .name))
        case (.value, _) where Byte.isBlank(byte), (.afterQuoted, _) where Byte.isBlank(byte):
            return countExtension(.blanks(after: .value))
        default: return .failed(.invalidExtension)
        }
    }

    private mutating func countExtension(_ next: State) -> State {
        extensionBytes += 1
        return extensionBytes <= limits.extensionBytesMax ? next : .failed(.extensionsTooLong)
    }

    private mutating func stepTrailer(_ byte: UInt8) -> State {
        trailerBytes += 1
        guard trailerBytes <= limits.trailerBytesMax else { return .failed(.trailersTooLong) }
        switch (state, byte) {
        case (.trailerLineFeed, Byte.lineFeed): return .trailerStart
        case (.lastLineFeed, Byte.lineFeed): return .finished
        case (.trailerLineFeed, _), (.lastLineFeed, _): return .failed(.bareCarriageReturn)
        case (_, Byte.lineFeed): return .failed(.bareLineFeed)
        case (.trailerStart, Byte.carriageReturn): return .lastLineFeed
        case (.trailerStart, _) where ByteTable.has(byte, ByteTable.token):
            trailerCount += 1
            return trailerCount <= limits.trailersMax ? .trailerName : .failed(.tooManyTrailers)
        case (.trailerName, _) where ByteTable.has(byte, ByteTable.token): return .trailerName
        case (.trailerName, Byte.colon): return .trailerValue
        case (.trailerValue, Byte.carriageReturn): return .trailerLineFeed
        case (.trailerValue, _) where byte == Byte.tab || !Byte.isControl(byte): return .trailerValue
        default: return .failed(.invalidTrailer)
        }
    }
}
