/// What a client did, or what became possible, on one HTTP/2 connection.
enum HTTP2Event: Equatable {
    /// A request's head was checked; `HTTP2Session.readHead` gives it. The exchange lasts until `exchangeEnded`.
    case requestHead(stream: Int32, endsStream: Bool, isExtendedConnect: Bool)
    /// A request is well-formed and against the caps or the policy: answer it with this status. It has no head, and its
    /// body is thrown away. The exchange lasts until `exchangeEnded`.
    case refused(stream: Int32, status: Int)
    /// Body bytes, as a range of what `receive` was given. They count against the client's window until `consume`.
    case data(stream: Int32, range: Range<Int>)
    /// The trailers were checked; `HTTP2Session.headBytes` has them as field lines. `endOfRequest` follows.
    case trailers(stream: Int32)
    /// The last byte of a body whose declared length had come before the client ended the stream: it was held back until
    /// now, and is one more to `consume`. `trailers` or `endOfRequest` follows.
    case lastByte(stream: Int32, UInt8)
    /// The request is complete and has its declared length. Does not follow a `requestHead` that ends the stream.
    case endOfRequest(stream: Int32)
    /// The stream is gone before its request and answer were complete: give the exchange up.
    case streamReset(stream: Int32, code: UInt32)
    /// The last byte of the answer was written.
    case responseSent(stream: Int32)
    /// A stream that had `outputBytesHigh` waiting takes more.
    case outputDrained(stream: Int32)
    /// The client will open no more streams.
    case goAway(code: UInt32)
    /// The connection is over for all streams; write what `produce` still gives, and close.
    case connectionError(code: UInt32)
    /// Something that should not be, and of which no exchange came.
    case glitch(HTTP2Glitch)
}
