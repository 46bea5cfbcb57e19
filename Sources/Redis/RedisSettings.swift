/// How to reach a server, and the bounds of what is kept for it.
public struct RedisSettings: Sendable {
    /// Tried in order; a failure leads to the next one.
    public var addresses: [RedisAddress]
    /// The ACL user; `nil` is the server's `default` user.
    public var username: String?
    /// Asked for at each connect; a function, so that settings hold nothing that must not be printed.
    public var password: (@Sendable () -> [UInt8])?
    /// Chosen with `SELECT` unless 0.
    public var database = 0
    /// The longest time from the start of an attempt until the server has accepted the password.
    public var connectTimeout = Duration.seconds(2)
    /// A connection whose oldest command waits longer than this is given up: its peer is gone without a word.
    public var stallTimeout = Duration.seconds(5)
    /// The pause after the first failure, before jitter; each further one doubles it.
    public var pauseMin = Duration.milliseconds(50)
    /// The longest pause between attempts.
    public var pauseMax = Duration.seconds(5)
    /// Commands that wait for an answer, those past their deadline included.
    public var pendingMax = 4096
    /// Bytes of commands that the socket did not take yet.
    public var outputBytesMax = 4 << 20
    /// Bounds on what the server may send.
    public var replyLimits = RedisReplyLimits()

    /// Everything else has its default.
    public init(addresses: [RedisAddress]) { self.addresses = addresses }
}

/// Bounds on one reply; a server that exceeds one loses the connection. Arrays nest at most seven deep.
public struct RedisReplyLimits: Sendable {
    /// One bulk string.
    public var bulkBytesMax = 1 << 20
    /// Elements of all arrays of the reply together.
    public var elementsMax = 16_384
    /// All strings of the reply together, and what is buffered of an unfinished one.
    public var replyBytesMax = 4 << 20
    /// A status, an error or a length.
    public var lineBytesMax = 16_384

    /// The defaults.
    public init() {}
}
