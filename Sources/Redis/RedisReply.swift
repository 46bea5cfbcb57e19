/// A reply as the server sent it (RESP2).
public enum RedisReply: Sendable, Equatable {
    /// A simple string, such as `OK`.
    case status(String)
    /// A bulk string; any bytes.
    case bulk([UInt8])
    case integer(Int64)
    /// There is no such value. Only a server that answered says so; a failure is never this.
    case null
    case array([RedisReply])
    /// An error inside an array; one that answers a command as a whole is `RedisError.refused`.
    case error(RedisServerError)
}

/// An error reply.
public struct RedisServerError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Its first word, such as `NOSCRIPT`.
    public let code: String
    /// The whole text. It may repeat arguments of the command: not for logs.
    public let message: String

    init(message: String) {
        self.message = message
        code = String(message.prefix { $0 != " " }.prefix(32))
    }

    /// The server takes no writes, since it is a replica now; older servers hide this in the text of script errors.
    var isReadOnly: Bool { code == "READONLY" || message.contains("READONLY ") }

    /// The code alone.
    public var description: String { code }
}
