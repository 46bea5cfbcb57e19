public import EventLoop
public import HTTPModel

/// One request with its response. Pooled by its worker; `generation` tells one use from the next.
@safe public final class Exchange {
    /// The request head; its ranges are offsets into `headBytes`.
    public var head: RequestHead
    /// What goes into the request line upstream: normalised path and query. Empty: the target as it was received.
    public var target = ByteBuffer(capacity: 256)
    /// Complete field lines that are added to the request upstream.
    public var upstreamFields = ByteBuffer(capacity: 1024)
    /// Complete field lines that are added to the answer, whoever makes it.
    public var responseFields = ByteBuffer(capacity: 256)
    /// The largest request body let through.
    public var bodyBytesMax = UInt64.max
    /// The trailer fields that are passed on; `nil`: none.
    public var trailers: TrailerNames?
    /// Whether a WebSocket handshake may be passed on.
    public var allowsUpgrade = true
    /// The request goes on when all of its body has come, which waits in a buffer until then; `nil`: as it comes.
    public var requestBuffering: BodyBuffering?
    /// The answer is read as fast as it comes, and what the client does not take waits in a buffer; `nil`: the upstream waits.
    public var responseBuffering: BodyBuffering?
    /// The request is a WebSocket handshake that is passed on as such. Any other `Upgrade` is ignored (RFC 9110
    /// section 7.8): with h2c, requests would pass that nobody judges.
    var isWebSocketHandshake = false
    /// The `Sec-WebSocket-Key` of a handshake that is the gateway's own, for a client that opened a stream for a WebSocket
    /// (RFC 8441); else empty.
    var handshakeKey: [UInt8] = []
    var isHTTP2 = false
    /// The filter's own data.
    public let state: AnyObject
    /// Moves on when the exchange ends: whoever waits for something compares.
    public private(set) var generation: UInt64 = 0
    /// The worker that owns the exchange.
    public let worker: Worker
    /// The worker's.
    let filter: any RequestFilter
    /// When the head was complete.
    public internal(set) var startedAt = MonotonicInstant(nanoseconds: 0)

    // What the connection is, written down when the exchange begins: to ask the connection each time would count
    // references each time.

    /// The client's address.
    public private(set) var peer = IPAddress.unspecified
    /// The client's port.
    public private(set) var peerPort: UInt16 = 0
    /// Whether the client used TLS.
    public private(set) var isSecure = false
    /// The port that clients of the listener see.
    public private(set) var listenerPort: UInt16 = 0
    /// The place of the listener among the filter's own settings, as of the snapshot that the connection knew when the
    /// exchange began.
    public private(set) var listenerIndex = -1
    /// Of the connection's address; `nil` between exchanges.
    private var connections: ConnectionCount?

    private(set) var downstream: (any DownstreamSide)?
    var upstream: UpstreamConnection?
    /// Serves the exchange; `nil` for answers made here.
    public internal(set) var pool: UpstreamPool?
    var handler: HandlerUpstream?
    /// The whole head as it goes upstream, with the first bytes of the body; kept while it may have to be sent again.
    var outgoing = ByteBuffer(capacity: 2048)
    var isReplayable = false
    /// The request's body, until the endpoint has been given all of it.
    var bufferedRequest: BufferedBody?
    /// What goes to the client, framed for it, from when it was slower than the endpoint.
    var bufferedResponse: BufferedBody?
    /// Endpoints of the pool that were tried in vain, one bit each.
    var endpointsTried: UInt64 = 0
    /// Addresses of the present endpoint that were tried in vain.
    var addressesTried = 0
    /// The endpoint that was tried last, as in the configuration.
    public internal(set) var endpointName: String?
    /// The endpoint of whose places this exchange has one; -1: none, or the upstream does not count them.
    var endpointHeld = -1
    /// While it waits for such a place.
    var wait: EndpointWait?
    /// Its place in the queue, once it had to wait; kept for the case that the endpoint it is called to refuses it.
    var ticket: UpstreamTicket?
    var queuedAt = MonotonicInstant(nanoseconds: 0)
    /// How long it waited, in nanoseconds.
    var queueDuration: UInt64 = 0
    var sentAt = MonotonicInstant(nanoseconds: 0)
    var firstByteAt = MonotonicInstant(nanoseconds: 0)
    var requestBodyBytes: UInt64 = 0
    var responseBodyBytes: UInt64 = 0
    var status = 0
    var retries = 0
    /// What went wrong, if anything did.
    public internal(set) var error: ExchangeError?
    var wasUpgraded = false
    var handlerTask: Task<Void, Never>?
    var handlerRequest: Request?
    /// The client's address as the filter knows it: behind a trusted proxy not the socket's.
    public var clientAddress = IPAddress.unspecified
    /// `nil` before the filter has given one.
    public var requestID: RequestIdentifier?

    /// Trailer lines as they came, where some are passed on.
    var requestTrailers = ByteBuffer()
    var responseTrailers = ByteBuffer()

    // The connection's input buffer; it does not move while the head is needed, because nothing is read then.
    private var headBase: UnsafeRawPointer?
    private var headByteCount = 0

    init(worker: Worker, fieldCapacity: Int) {
        self.worker = worker
        head = RequestHead(fieldCapacity: fieldCapacity)
        filter = worker.filter
        state = filter.makeExchangeState()
        MemoryAccount.add(Exchange.bytesEstimate)
    }

    deinit { MemoryAccount.add(-Exchange.bytesEstimate) }

    /// Without its buffers, which are counted themselves.
    private static let bytesEstimate = 8192

    /// The request head's bytes, while the exchange has not been forwarded yet.
    public var headBytes: Span<UInt8> {
        @_lifetime(borrow self)
        get {
            let region = unsafe UnsafeRawBufferPointer(start: headBase, count: headByteCount)
            let span = unsafe Span<UInt8>(_unsafeBytes: region)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// The version of HTTP that the client speaks, as logs spell it.
    public var protocolName: StaticString {
        if isHTTP2 { return "HTTP/2" }
        return head.minorVersion == 0 ? "HTTP/1.0" : "HTTP/1.1"
    }
    /// What the connection's TLS handshake came to; `nil` without TLS, and once the connection is gone.
    public var handshake: HandshakeFacts? { downstream?.handshake }
    /// Whether the connection is one of those counted here: an address keeps its count as long as it is listened on.
    public func cameBy(_ connections: ConnectionCount) -> Bool { self.connections === connections }

    /// When the first byte of the upstream's answer came; `nil` before.
    public var answerBeganAt: MonotonicInstant? { firstByteAt.nanoseconds > 0 ? firstByteAt : nil }

    /// Whether the connection was upgraded for this exchange.
    public var isUpgraded: Bool { wasUpgraded }

    /// Ends the exchange and its connections at once, whatever is under way; `step` says in the log why.
    public func cut(step: String) {
        downstream?.abort(ExchangeError(side: .gateway, step: step, status: 0))
    }

    /// Ends an exchange that has lasted too long: by an answer if none has begun, else by cutting it.
    public func timeOut() {
        guard let downstream else { return }
        let (side, status): (Side, Int) = downstream.requestIsComplete ? (.upstream, 504) : (.downstream, 408)
        downstream.fail(ExchangeError(side: side, step: "request.timeout", status: status))
    }

    /// Goes on after `suspend`. Ignored when the exchange has ended meanwhile: pass the generation seen before.
    public func proceed(_ verdict: Verdict, generation: UInt64) {
        guard generation == self.generation else { return }
        downstream?.proceed(verdict)
    }

    /// Appends the request's trailer lines that go upstream.
    func appendRequestTrailers(to buffer: inout ByteBuffer) {
        guard let trailers, !requestTrailers.isEmpty else { return }
        requestTrailers.withBytes { trailers.appendRequest($0, to: &buffer) }
    }

    /// Appends the answer's trailer lines that go to the client: over HTTP/1.1, if it said that it takes any.
    func appendResponseTrailers(to buffer: inout ByteBuffer) {
        guard let trailers, !responseTrailers.isEmpty, isHTTP2 || head.acceptsTrailers else { return }
        responseTrailers.withBytes { trailers.appendResponse($0, to: &buffer) }
    }

    /// Begins to serve a connection or stream.
    func begin(on downstream: some DownstreamSide) {
        self.downstream = downstream
        peer = downstream.peer
        peerPort = downstream.peerPort
        isSecure = downstream.isSecure
        let listener = downstream.listener
        listenerPort = listener.settings.port
        listenerIndex = listener.settings.filterIndex
        connections = listener.settings.connections
    }

    func bindHead(_ bytes: Span<UInt8>) {
        unsafe bytes.withUnsafeBytes { region in
            unsafe headBase = region.baseAddress
            headByteCount = region.count
        }
    }

    func unbindHead() {
        unsafe headBase = nil
        headByteCount = 0
    }

    /// Makes it ready for the next request; keeps all memory.
    func recycle() {
        generation &+= 1
        head.reset()
        target.removeAll()
        upstreamFields.removeAll()
        responseFields.removeAll()
        outgoing.removeAll()
        if requestBuffering != nil || responseBuffering != nil { dropBuffering() }
        bodyBytesMax = .max
        if trailers != nil {
            trailers = nil
            requestTrailers.release()
            responseTrailers.release()
        }
        allowsUpgrade = true
        isWebSocketHandshake = false
        isHTTP2 = false
        if !handshakeKey.isEmpty { handshakeKey = [] }
        downstream = nil
        connections = nil
        upstream = nil
        pool = nil
        handler = nil
        isReplayable = false
        endpointsTried = 0
        addressesTried = 0
        endpointName = nil
        if ticket != nil { forgetQueue() }
        sentAt = MonotonicInstant(nanoseconds: 0)
        firstByteAt = MonotonicInstant(nanoseconds: 0)
        requestBodyBytes = 0
        responseBodyBytes = 0
        status = 0
        retries = 0
        error = nil
        wasUpgraded = false
        handlerTask = nil
        handlerRequest = nil
        clientAddress = .unspecified
        requestID = nil
        unbindHead()
    }

    /// Leaves the queue, and gives back its place at an endpoint: nothing more is wanted of the upstream.
    func leaveUpstream() {
        wait?.giveUp()
        giveBackPlace()
    }

    /// Its endpoint may have another exchange.
    func giveBackPlace() {
        guard endpointHeld >= 0 else { return }
        let endpoint = endpointHeld
        endpointHeld = -1
        pool?.places?.giveBack(endpoint)
    }

    private func forgetQueue() {
        ticket = nil
        queuedAt = MonotonicInstant(nanoseconds: 0)
        queueDuration = 0
    }

    private func dropBuffering() {
        bufferedRequest = nil
        bufferedResponse = nil
        // A body that was small enough went into it.
        if requestBuffering != nil { outgoing = ByteBuffer(capacity: 2048) }
        requestBuffering = nil
        responseBuffering = nil
    }
}
