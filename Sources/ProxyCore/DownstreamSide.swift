internal import EventLoop
internal import HTTPModel
internal import Telemetry

/// The side of an exchange that faces whoever asks: a connection, which has one exchange after the other.
///
/// What is the same whatever carries the exchange is in extensions: the request's way to the filter and on to an endpoint
/// or a handler, with its body behind it (`DownstreamSide+Request`), and the exchange's end. How bytes come and go is for
/// the conforming class to say. Everything happens on the worker's thread.
protocol DownstreamSide: AnyObject {
    var peer: IPAddress { get }
    var peerPort: UInt16 { get }
    var isSecure: Bool { get }
    /// What the connection's TLS handshake came to; `nil` without TLS.
    var handshake: HandshakeFacts? { get }
    var listener: ListenerSocket { get }
    var worker: Worker { get }
    /// The worker's: what is reached through another reference costs a count of references each time.
    var loop: EventLoop { get }

    var state: DownstreamState { get set }
    /// Bytes read and not yet consumed; owns memory only while there are some.
    var input: ByteBuffer { get set }
    var exchange: Exchange? { get set }
    /// The head's bytes are still at the front of `input`.
    var headByteCount: Int { get set }
    var requestBody: BodyReader { get set }
    /// How the answer's body is framed; `nil` before its head was written.
    var responseFraming: ResponseFraming? { get set }

    // MARK: The request

    /// The filter has its verdict, at once or after it waited.
    func proceed(_ verdict: Verdict)
    /// Goes as far as the bytes at hand allow; never nested.
    func advance()
    /// What finds the end of the body of the request whose head is in `exchange`.
    func makeBodyReader(_ exchange: Exchange) -> BodyReader
    /// Reads body bytes into `input`; `false` when neither bytes nor the body's end came.
    func readBody() -> Bool
    /// The upstream takes more of the body, or of what the tunnel brings.
    func upstreamTakesMore()
    /// The client will send nothing more, and may be gone.
    var inputHasEnded: Bool { get }
    func setDeadline(_ nanoseconds: UInt64)
    func clearDeadline()

    // MARK: The answer

    /// The client has not taken all it was sent: the upstream must wait.
    var hasOutput: Bool { get }
    /// Whether the client's socket would take so much of a body at once: little or nothing of it would wait here.
    func hasRoom(for byteCount: Int) -> Bool
    /// Whether body bytes may be sent as they come from the upstream.
    var passesBodyUnchanged: Bool { get }
    /// All of the request has been read, and nothing of it waits here.
    var requestIsComplete: Bool { get }
    /// All of the request has been read.
    var requestHasArrived: Bool { get }
    /// Writes the answer's head with the framing that suits this client.
    func writeHead(
        _ head: borrowing ResponseHead, _ bytes: Span<UInt8>, _ framing: ResponseFraming, of exchange: Exchange,
        into build: inout ByteBuffer)
    /// The head that was written will not be sent: another answer may still be.
    func forgetHead()
    /// Appends body bytes in the answer's framing.
    func appendBody(_ bytes: Span<UInt8>, _ range: Range<Int>, into build: inout ByteBuffer)
    /// Appends what ends the body in the answer's framing.
    func appendEnd(into build: inout ByteBuffer)
    /// Sends bytes of an answer; a client that does not take them makes the upstream wait.
    func send(_ bytes: Span<UInt8>)
    /// Passes an interim answer on (RFC 9110 section 15.2).
    func sendInterim(_ head: borrowing ResponseHead, _ bytes: Span<UInt8>)
    /// Asks the client for the body it holds back (RFC 9110 section 10.1.1).
    func sendContinue()
    /// The upstream has given the whole answer.
    func responseEnded()
    /// Sends a whole answer made here.
    func respond(_ response: LocalResponse)

    // MARK: Upgraded

    /// The upstream agreed to switch protocols.
    func startTunnel(_ head: borrowing ResponseHead, _ bytes: Span<UInt8>, _ headByteCount: Int)
    func pumpTunnelFromUpstream()
    /// Either side of the tunnel ended.
    func tunnelEnded()

    // MARK: Ends

    /// Ends the exchange with an answer of ours if none has begun, else by cutting it.
    func fail(_ error: ExchangeError)
    /// Cuts the exchange: what was sent must not look complete.
    func abort(_ error: ExchangeError)
}

/// How far a connection or stream has come.
enum DownstreamState {
    /// TLS is being set up.
    case handshaking
    /// Between exchanges, or within a head.
    case readingHead
    /// The filter waits for something.
    case deciding
    /// The request is on its way, or its answer.
    case exchanging
    /// Upgraded: bytes pass unread both ways.
    case tunnel
    /// Our last byte is (being) sent; what still comes is thrown away, so that the client can read the answer.
    case lingering
    case closed
}

extension DownstreamSide {
    /// Ends the exchange with an answer of ours if none has begun, else by cutting it.
    func fail(_ error: ExchangeError) {
        guard let exchange else {
            abort(error)
            return
        }
        exchange.error = error
        exchange.upstream?.abandon()
        exchange.leaveUpstream()
        exchange.handlerTask?.cancel()
        exchange.bufferedRequest = nil
        guard responseFraming == nil, error.status != 0, state != .tunnel else {
            abort(error)
            return
        }
        respond(exchange.filter.response(to: error, exchange))
    }

    /// Reports the exchange and gives it back.
    func endExchange(_ exchange: Exchange) {
        if exchange.endpointHeld >= 0 || exchange.wait != nil { exchange.leaveUpstream() }
        let now = MonotonicInstant.current()
        let hadUpstream = exchange.firstByteAt.nanoseconds > 0
        if let body = exchange.bufferedResponse {
            // What waits for the client will not be sent.
            exchange.responseBodyBytes -= min(exchange.responseBodyBytes, UInt64(body.byteCount))
        }
        let report = ExchangeReport(
            status: exchange.status, requestBodyBytes: exchange.requestBodyBytes,
            responseBodyBytes: exchange.responseBodyBytes,
            duration: exchange.startedAt.nanoseconds > 0 ? now.nanoseconds(since: exchange.startedAt) : 0,
            queueDuration: exchange.queueDuration,
            upstreamDuration: hadUpstream ? exchange.firstByteAt.nanoseconds(since: exchange.sentAt) : 0,
            retries: exchange.retries, wasUpgraded: exchange.wasUpgraded)
        exchange.filter.ended(exchange, report)
        self.exchange = nil
        headByteCount = 0
        worker.give(exchange)
    }
}
