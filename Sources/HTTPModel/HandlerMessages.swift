public import HTTPTypes

/// A whole request for an `async` handler inside this process. The data plane uses `RequestHead` instead.
public struct Request: Sendable {
    /// Method, scheme, authority (host as the client wrote it, lower case), path with query, fields.
    public var head: HTTPRequest
    /// The complete body; its size was capped while it was read.
    public var body: [UInt8]
    /// The client's address without port, from the socket or a trusted peer.
    public var remoteAddress: String
    /// Whether the client used TLS.
    public var isSecure: Bool
    /// The exchange's request identifier; empty if the filter gave it none.
    public var requestID: String

    /// Memberwise.
    public init(
        head: HTTPRequest, body: [UInt8] = [], remoteAddress: String, isSecure: Bool, requestID: String
    ) {
        self.head = head
        self.body = body
        self.remoteAddress = remoteAddress
        self.isSecure = isSecure
        self.requestID = requestID
    }
}

/// A whole response of an `async` handler.
public struct Response: Sendable {
    /// Status and fields; `Content-Length` and connection fields are written by whoever sends it.
    public var head: HTTPResponse
    /// The complete body.
    public var body: [UInt8]

    /// Memberwise.
    public init(head: HTTPResponse, body: [UInt8] = []) {
        self.head = head
        self.body = body
    }
}

/// Answers whole requests off the workers. Cancelled when the client goes away.
public protocol RequestHandler: Sendable {
    /// Never throws: what goes wrong becomes a response.
    func respond(to request: Request) async -> Response
}
