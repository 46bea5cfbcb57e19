/// A request method (RFC 9110 section 9; PATCH: RFC 5789). Methods are case-sensitive: `get` is `other`.
public enum Method: UInt8, CaseIterable, Sendable {
    case get, head, post, put, delete, connect, options, trace, patch
    /// Any other token.
    case other

    /// The method that `range` of `bytes` spells.
    static func find(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Method {
        let candidate: Method
        switch (range.count, range.isEmpty ? 0 : bytes[range.lowerBound]) {
        case (3, UInt8(ascii: "G")): candidate = .get
        case (3, _): candidate = .put
        case (4, UInt8(ascii: "P")): candidate = .post
        case (4, _): candidate = .head
        case (5, UInt8(ascii: "P")): candidate = .patch
        case (5, _): candidate = .trace
        case (6, _): candidate = .delete
        case (7, UInt8(ascii: "O")): candidate = .options
        case (7, _): candidate = .connect
        default: return .other
        }
        return bytes.holds(candidate.name, in: range) ? candidate : .other
    }

    /// The method as it is written; empty for `other`.
    public var name: StaticString {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .delete: "DELETE"
        case .connect: "CONNECT"
        case .options: "OPTIONS"
        case .trace: "TRACE"
        case .patch: "PATCH"
        case .other: ""
        }
    }
}
