/// What one call may cost. Every bound holds for the redirects that it follows too.
public struct FetchLimits: Sendable, Equatable {
    /// Bytes of the body; the call fails as soon as there are more. Nothing is ever inflated.
    public var bytesMax: Int
    /// From the call to the last byte, the wait for a free thread included.
    public var deadline: Duration
    /// For name, connection and TLS handshake, of each connection.
    public var connectTimeout: Duration
    /// Redirects followed, all within the same host.
    public var redirectsMax: Int

    /// One MiB, ten seconds in all, five to connect, three redirects.
    public init(
        bytesMax: Int = 1 << 20, deadline: Duration = .seconds(10), connectTimeout: Duration = .seconds(5),
        redirectsMax: Int = 3
    ) {
        self.bytesMax = bytesMax
        self.deadline = deadline
        self.connectTimeout = connectTimeout
        self.redirectsMax = redirectsMax
    }
}

/// An answer that arrived whole; which status is a success is for the caller to say.
public struct FetchResponse: Sendable, Equatable {
    /// The status code, 200 to 599; of a redirect only if it names no place.
    public let status: Int
    /// `Content-Type` as it came.
    public let contentType: String?
    /// The body as it came, at most `FetchLimits.bytesMax` bytes.
    public let body: [UInt8]

    /// Memberwise.
    public init(status: Int, contentType: String?, body: [UInt8]) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }
}

/// Why there is no answer.
public enum FetchError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Not an absolute `http` or `https` URL, or one with a user in it.
    case invalidURL
    /// Too many calls are waiting already; nothing was sent.
    case queueFull
    /// The caller's task was cancelled.
    case cancelled
    /// A time limit passed.
    case timedOut
    /// No connection: name, address or refusal; the text is libcurl's.
    case unreachable(String)
    /// The peer's certificate or handshake was not acceptable; the text is libcurl's.
    case untrusted(String)
    /// The body or the head was longer than permitted.
    case tooLarge
    /// A redirect to another host or port, or from `https` to `http`, or to no URL at all.
    case redirectRefused
    /// More redirects than permitted.
    case tooManyRedirects
    /// Anything else, such as an answer that is no HTTP; the text is libcurl's.
    case failed(String)

    /// For the log; names no URL.
    public var description: String {
        switch self {
        case .invalidURL: "no absolute http or https URL"
        case .queueFull: "too many calls are waiting"
        case .cancelled: "cancelled"
        case .timedOut: "timed out"
        case .unreachable(let reason): "unreachable: \(reason)"
        case .untrusted(let reason): "not trusted: \(reason)"
        case .tooLarge: "the answer is too large"
        case .redirectRefused: "redirect to another host"
        case .tooManyRedirects: "too many redirects"
        case .failed(let reason): "failed: \(reason)"
        }
    }
}
