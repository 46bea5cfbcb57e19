/// A command had no answer that can be used. Never to be read as "there is no such value".
public enum RedisError: Error, Sendable, Equatable, CustomStringConvertible {
    /// There is no connection, and the time for the next attempt has not come. Nothing was sent.
    case notConnected(reason: String)
    /// As many commands wait as the settings allow. Nothing was sent.
    case queueFull
    /// The answer did not come in time; the server may still carry the command out.
    case deadlinePassed
    /// The connection failed while the command was under way; the server may have carried it out.
    case connectionLost(reason: String)
    /// The server answered with an error.
    case refused(RedisServerError)
    /// The answer is well-formed and not what this command is answered with.
    case unexpectedReply
    /// The owner closed the connection.
    case closed

    /// For logs; holds no argument of a command.
    public var description: String {
        switch self {
        case .notConnected(let reason): "not connected: \(reason)"
        case .queueFull: "too many commands are waiting"
        case .deadlinePassed: "no answer in time"
        case .connectionLost(let reason): "connection lost: \(reason)"
        case .refused(let error): "refused: \(error)"
        case .unexpectedReply: "unexpected reply"
        case .closed: "closed"
        }
    }
}
