/// What a Transfer-Encoding value asks for (RFC 9112 section 6.1).
enum TransferEncoding {
    /// Exactly `chunked`, in any case.
    case chunked
    /// A well-formed list in which `chunked` is once and last, with codings before it that we do not undo.
    case unsupported
    /// Anything else, such as `chunked` twice, before another coding, or not at all: then nothing says where a request
    /// ends, and the answer must be 400 (section 6.3).
    case invalid

    static func read(_ bytes: Span<UInt8>, _ value: Range<Int>) -> TransferEncoding {
        if bytes.holds(lowercased: "chunked", in: value) { return .chunked }
        var elements = ListElements(value)
        var count = 0
        var hasChunked = false
        while let coding = elements.next(in: bytes) {
            guard !hasChunked else { return .invalid }
            for index in coding where !ByteTable.has(bytes[index], ByteTable.token) { return .invalid }
            hasChunked = bytes.holds(lowercased: "chunked", in: coding)
            count += 1
        }
        // `chunked` alone but not alone in its value, such as `chunked,`: servers differ on it.
        return hasChunked && count > 1 ? .unsupported : .invalid
    }
}
