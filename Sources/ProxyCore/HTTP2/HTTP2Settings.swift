/// Bounds of one HTTP/2 connection.
public struct HTTP2Settings: Sendable, Equatable {
    /// Streams that may be under way at once; one that was reset counts until its exchange has ended.
    public var concurrentStreamsMax = 100
    /// What a client may send on one stream before its bytes were passed on.
    public var streamWindow = 65_535
    /// What a client may send on all streams together before its bytes were passed on.
    public var connectionWindow = 1_048_576
    /// Bytes of the names and values of one head; beyond it 431.
    var headBytesMax = 32_768
    /// Fields of one head, cookies counted one by one, without the pseudo fields; beyond it 431.
    var fieldsMax = 128
    /// Bytes of one head before decompression; beyond it the connection ends.
    var headBlockBytesMax = 65_536
    /// Answers to SETTINGS and PING that the client lets wait; beyond it the connection ends.
    var acknowledgementsMax = 128
    /// Frames that wait to be written; beyond it the connection ends.
    var queuedFramesMax = 2048
    /// All memory of the connection's session; beyond it the connection ends.
    var memoryBytesMax = 16 << 20
    /// Body bytes that wait on one stream before its exchange should stop reading, and where it should go on.
    var outputBytesHigh = 65_536
    var outputBytesLow = 16_384
    /// Whether WebSockets may be opened on a stream (RFC 8441).
    var allowsExtendedConnect = true
    /// Units of the glitch account at which the connection ends.
    public var glitchUnitsMax = 10_000

    /// What holds unless something else is set.
    public init() {}
}

/// The error codes of RFC 9113 section 7.
enum HTTP2ErrorCode {
    static let noError: UInt32 = 0
    static let protocolError: UInt32 = 1
    static let internalError: UInt32 = 2
    static let refusedStream: UInt32 = 7
    static let cancel: UInt32 = 8
    static let enhanceYourCalm: UInt32 = 11
}
