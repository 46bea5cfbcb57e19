/// The host and port of an authority, in the form that hosts are compared in. Reused from request to request.
public struct HostName: ~Copyable {
    /// The port, or nil if the authority has none.
    public private(set) var port: UInt16?
    private var buffer = FixedBytes(capacity: Authority.hostBytesMax)

    /// Holds no host yet.
    public init() {}

    /// The host in lower case without its one trailing dot; an IPv6 address keeps its brackets.
    public var bytes: Span<UInt8> {
        @_lifetime(borrow self)
        get { buffer.span }
    }

    /// Appends the host.
    public func appendBytes(to output: inout ByteBuffer) { output.append(buffer.span) }

    /// Takes the host and port of `authority`, as `RequestHead.authority` gives it. False, and an empty host, if it is
    /// empty or no `uri-host [ ":" port ]`.
    ///
    /// `app.example.com.` is `app.example.com`: the dot must not lead past the rules of a virtual host.
    public mutating func read(_ authority: Span<UInt8>) -> Bool {
        buffer.truncate(to: 0)
        port = nil
        let whole = 0..<authority.count
        guard Authority.isValid(authority, whole) else { return false }
        var end = authority.count
        let lastBracket =
            authority[0] == Byte.openBracket ? authority.firstIndex(of: Byte.closeBracket, in: whole) : nil
        if let colon = authority.firstIndex(of: Byte.colon, in: (lastBracket ?? 0)..<end) {
            port = authority.decimal(in: colon + 1..<end).map { UInt16(truncatingIfNeeded: $0) }
            end = colon
        }
        if authority[end - 1] == Byte.dot { end -= 1 }
        buffer.assign(lowercased: authority.extracting(0..<end))
        return true
    }
}
