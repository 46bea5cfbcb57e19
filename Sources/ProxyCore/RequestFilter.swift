public import HTTPModel

/// What is to become of an exchange.
public enum Verdict {
    /// Send the request, as the exchange's edits have it, to an endpoint of this pool.
    case forward(UpstreamPool)
    /// Let a handler in this process answer it.
    case handle(HandlerUpstream)
    /// Answer it here.
    case respond(LocalResponse)
    /// The filter must wait for something; it calls `Exchange.proceed` when it has it.
    case suspend
}

/// A response made here. Framing, `Date` and `Connection` are written by `ProxyCore`.
public struct LocalResponse {
    /// 200 to 599.
    public var status: Int
    /// Complete field lines, each ending in CRLF.
    public var fields: [UInt8]
    /// The complete body.
    public var body: [UInt8]
    /// Close the connection afterwards.
    public var closes: Bool

    /// Memberwise.
    public init(status: Int, fields: [UInt8] = [], body: [UInt8] = [], closes: Bool = false) {
        self.status = status
        self.fields = fields
        self.body = body
        self.closes = closes
    }
}

/// The side that a failure is to be blamed on.
public enum Side: String, Sendable { case downstream, upstream, gateway }

/// Why an exchange did not take its normal course: the side, the step, and the status the downstream gets if it can
/// still get one. The peer learns only the status.
public struct ExchangeError: Error, Sendable, Equatable {
    /// Who is to blame.
    public var side: Side
    /// The step, such as `connect` or `response.head`, for the log.
    public var step: String
    /// 400 to 599; zero when no answer is possible, as after the client went away.
    public var status: Int

    /// Memberwise.
    public init(side: Side, step: String, status: Int) {
        self.side = side
        self.step = step
        self.status = status
    }
}

/// How an exchange ended, for the log and the metrics, besides what the exchange itself holds to its end. Lengths of time
/// are in nanoseconds.
public struct ExchangeReport {
    /// The status that went downstream; zero when none did.
    public var status: Int
    /// Body bytes in each direction, without framing.
    public var requestBodyBytes: UInt64
    /// Body bytes sent downstream, without framing.
    public var responseBodyBytes: UInt64
    /// From the complete head to the last byte handed to the socket.
    public var duration: UInt64
    /// How long it waited for a place at an endpoint.
    public var queueDuration: UInt64
    /// From the request's hand-over to the first byte of the answer; zero without an upstream.
    public var upstreamDuration: UInt64
    /// Attempts beyond the first.
    public var retries: Int
    /// The connection was upgraded.
    public var wasUpgraded: Bool
}

/// The one hook in the line: decides what becomes of each request. One object for each worker, called on its thread.
public protocol RequestFilter: AnyObject {
    /// A place for the filter's own data on each exchange; made once, reused with it.
    func makeExchangeState() -> AnyObject
    /// Judges a request whose head is complete and strict. Fills in `target` and `upstreamFields`, marks fields that
    /// must not go on, before it answers `forward`.
    func decide(_ exchange: Exchange) -> Verdict
    /// A final answer of the upstream arrived: mark fields that must not go on, append to `responseFields`.
    func responseArrived(_ exchange: Exchange, head: inout ResponseHead, bytes: Span<UInt8>)
    /// The answer to give when something went wrong before any answer was sent. The head may be incomplete.
    func response(to error: ExchangeError, _ exchange: Exchange) -> LocalResponse
    /// The exchange has ended, in whatever way. Called exactly once for each `decide`, and for each head that failed.
    func ended(_ exchange: Exchange, _ report: ExchangeReport)
}
