/// What an honest client does seldom or never, and a hostile one often.
enum HTTP2Glitch: CaseIterable {
    /// RST_STREAM for a request that had no answer yet: rapid reset.
    case resetBeforeAnswer
    /// RST_STREAM at any other time.
    case reset
    /// A request or trailers that RFC 9113 calls malformed.
    case malformed
    /// A request that is against the caps or the policy.
    case refused
    /// A request beyond the streams allowed, because those that were reset still count.
    case refusedStream
    case settings, ping, priority, windowUpdate, smallWindowUpdate, continuation, unknownFrame, emptyData
    /// A frame that is an error of its stream.
    case invalidFrame

    /// The price of one, in units.
    var units: Int {
        switch self {
        case .resetBeforeAnswer: 50
        case .reset: 10
        case .malformed: 100
        case .refused: 50
        case .refusedStream: 50
        case .settings: 100
        case .ping: 10
        case .priority: 5
        case .windowUpdate: 1
        case .smallWindowUpdate: 20
        case .continuation: 20
        case .unknownFrame: 10
        case .emptyData: 20
        case .invalidFrame: 100
        }
    }
}

/// One account for each connection: glitches fill it, time and honest work empty it, and when it is full the connection
/// ends.
struct GlitchAccount: Equatable {
    /// What a second takes off.
    static let unitsPerSecond = 1000
    /// What an answer that was sent whole takes off.
    static let unitsPerAnswer = 50
    /// Body bytes that take one unit off: a client gives window for what it reads.
    static let bytesPerUnit = 4096

    private(set) var units = 0
    private let limit: Int
    private var updatedAt: UInt64
    private var bytes = 0

    /// An empty account; `now` is in nanoseconds, as everywhere here.
    init(limit: Int = HTTP2Settings().glitchUnitsMax, at now: UInt64) {
        self.limit = limit
        updatedAt = now
    }

    /// Whether the connection must end.
    var isFull: Bool { units >= limit }

    /// Books `count` glitches of a kind.
    mutating func add(_ kind: HTTP2Glitch, count: Int = 1, at now: UInt64) {
        guard count > 0, !isFull else { return }
        settle(at: now)
        // A count is below 2^32, and a price is small.
        units = min(units + kind.units * count, limit)
    }

    /// An answer was sent whole.
    mutating func answered() { takeOff(GlitchAccount.unitsPerAnswer) }

    /// Body bytes were sent.
    mutating func sent(bytes count: Int) {
        bytes += count
        takeOff(bytes / GlitchAccount.bytesPerUnit)
        bytes %= GlitchAccount.bytesPerUnit
    }

    /// DATA frames were sent that were short because no more waited, as of WebSockets and events: a client may give window
    /// for each at once, on the stream and on the connection.
    mutating func sent(smallMessages count: Int) {
        takeOff(count * 2 * (HTTP2Glitch.windowUpdate.units + HTTP2Glitch.smallWindowUpdate.units))
    }

    private mutating func settle(at now: UInt64) {
        precondition(now >= updatedAt)
        let step: UInt64 = 1_000_000_000 / UInt64(GlitchAccount.unitsPerSecond)
        let whole = (now - updatedAt) / step
        updatedAt += whole * step
        takeOff(Int(clamping: whole))
    }

    /// A full account stays full.
    private mutating func takeOff(_ count: Int) {
        guard !isFull else { return }
        units = max(0, units - count)
    }
}
