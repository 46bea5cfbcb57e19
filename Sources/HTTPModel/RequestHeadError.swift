/// Why a request head is refused. After any of these the connection's bytes mean nothing: answer and close.
public enum RequestHeadError: Error, Equatable, Sendable {
    /// The bytes are no head (RFC 9112 sections 2.2 and 5).
    case syntax(HeadSyntaxError)
    /// More than one empty line before the request line.
    case emptyLines
    /// The method is empty, holds a byte that is no token byte, or is not followed by one space.
    case invalidMethod
    /// The target is empty, holds `#`, `\`, a control byte or a byte above 0x7E, or has none of the four forms.
    case invalidTarget
    /// A request line without a version, as in HTTP/0.9.
    case missingVersion
    /// What follows the target is not one space and an HTTP version.
    case invalidVersion
    /// A major version other than 1.
    case unsupportedVersion
    /// The request line does not fit into the bytes allowed for a head.
    case targetTooLong
    /// The head does not fit into the bytes allowed.
    case headTooLong
    /// More field lines than allowed.
    case tooManyFields
    /// HTTP/1.1 without Host (RFC 9112 section 3.2).
    case missingHost
    /// More than one Host line.
    case duplicateHost
    /// A Host or target authority that is no `uri-host [ ":" port ]`.
    case invalidHost
    /// Both Content-Length and Transfer-Encoding: upstreams disagree on which counts, and that is request smuggling.
    case bothLengthAndTransferEncoding
    /// More than one Content-Length line, equal or not.
    case duplicateContentLength
    /// A Content-Length that is not 1 to 20 digits within 64 bits; lists are none.
    case invalidContentLength
    /// More than one Transfer-Encoding line.
    case duplicateTransferEncoding
    /// A Transfer-Encoding that is no list of codings with `chunked` last and once.
    case invalidTransferEncoding
    /// Transfer codings other than `chunked`, before it.
    case unsupportedTransferCoding
    /// Transfer-Encoding in an HTTP/1.0 request (RFC 9112 section 6.1).
    case transferEncodingBeforeHTTP11
    /// A connection option that is no token.
    case invalidConnection
    /// Connection names `host`, `cookie`, `authorization` or a framing field, which no hop may remove.
    case protectedConnectionOption
    /// More than 32 connection options.
    case tooManyConnectionOptions
    /// An Expect other than one `100-continue` (RFC 9110 section 10.1.1).
    case unsupportedExpectation
    /// More than one line of another field that has one value, such as Authorization, Origin or Content-Type.
    case duplicateField
    /// More than one Upgrade line.
    case duplicateUpgrade

    /// The status that answers it.
    public var status: Int {
        switch self {
        case .targetTooLong: 414
        case .headTooLong, .tooManyFields: 431
        case .unsupportedExpectation: 417
        case .unsupportedTransferCoding: 501
        case .unsupportedVersion: 505
        default: 400
        }
    }
}
