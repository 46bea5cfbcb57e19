/// The path of a route, taken apart.
///
/// Literals are kept percent-decoded: applications compare decoded text, so `/a@b` and `/a%40b` are one resource to
/// them and must be one to us.
struct PathPattern: Sendable, Equatable {
    enum Segment: Sendable, Hashable {
        /// Exactly these bytes, after decoding.
        case literal([UInt8])
        /// `*`: one segment, not empty.
        case any
    }

    enum End: Sendable, Hashable {
        /// The path ends here, spelled with or without a final slash.
        case exact(hasSlash: Bool)
        /// `**`: anything below, also nothing.
        case rest
    }

    let segments: [Segment]
    let end: End

    /// Reads a path of the configuration file. It must be spelled as a request's path is after normalisation, or it
    /// could never match.
    /// - Parameter allowEncoded: encoded bytes that the route lets through, such as that of `%2F`.
    init(_ text: String, allowEncoded: Set<UInt8> = []) throws(PathPatternError) {
        let bytes = Array(text.utf8)
        guard bytes.first == PathPattern.slash else { throw .notAbsolute }
        try PathPattern.checkSpelling(bytes)
        var parts = bytes.dropFirst().split(separator: PathPattern.slash, omittingEmptySubsequences: false)
        var end = End.exact(hasSlash: false)
        switch parts.last {
        case [], nil:
            end = .exact(hasSlash: true)
            parts.removeLast()
        case [PathPattern.star, PathPattern.star]:
            end = .rest
            parts.removeLast()
        default: break
        }
        guard parts.count <= PathPattern.segmentsMax else { throw .tooManySegments(parts.count) }
        var segments: [Segment] = []
        for part in parts {
            segments.append(try PathPattern.segment(Array(part), allowEncoded: allowEncoded))
        }
        self.segments = segments
        self.end = end
    }

    /// The longest path, in segments.
    static let segmentsMax = 64

    private static func checkSpelling(_ bytes: [UInt8]) throws(PathPatternError) {
        guard !bytes.contains(UInt8(ascii: "?")) else { throw .hasQuery }
        var normal: [UInt8] = []
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            if byte == UInt8(ascii: "%") {
                guard let decoded = decodedEscape(bytes.span, at: index, before: bytes.count) else { throw .badEscape }
                if isUnreserved(decoded) { normal.append(decoded) } else { appendEscape(of: decoded, to: &normal) }
                index += 3
            } else {
                if isPathByte(byte) { normal.append(byte) } else { appendEscape(of: byte, to: &normal) }
                index += 1
            }
        }
        guard normal == bytes else { throw .notNormal(spelling: String(decoding: normal, as: UTF8.self)) }
    }

    private static func segment(_ part: [UInt8], allowEncoded: Set<UInt8>) throws(PathPatternError) -> Segment {
        let text = String(decoding: part, as: UTF8.self)
        guard !part.isEmpty else { throw .emptySegment }
        guard part != [star] else { return .any }
        guard part != [star, star] else { throw .restNotLast }
        guard !part.contains(star) else { throw .wildcardInSegment(text) }
        let beforeParameters = part.prefix { $0 != UInt8(ascii: ";") }
        guard beforeParameters != [dot], beforeParameters != [dot, dot] else { throw .dotSegment(text) }
        var literal: [UInt8] = []
        var index = 0
        while index < part.count {
            if let decoded = decodedEscape(part.span, at: index, before: part.count) {
                guard !isRefusedUnlessAllowed(decoded) || allowEncoded.contains(decoded) else {
                    throw .encodedNotAllowed(text)
                }
                literal.append(decoded)
                index += 3
            } else {
                literal.append(part[index])
                index += 1
            }
        }
        return .literal(literal)
    }

    /// Whether a request with this byte in encoded form is refused on routes that do not list it.
    private static func isRefusedUnlessAllowed(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == 0x7F || byte == slash || byte == UInt8(ascii: "\\")
    }

    /// `pchar` of RFC 3986 section 3.3, and the slash.
    private static func isPathByte(_ byte: UInt8) -> Bool {
        isUnreserved(byte) || "/!$&'()*+,;=:@".utf8.contains(byte)
    }

    private static let slash = UInt8(ascii: "/")
    private static let star = UInt8(ascii: "*")
    private static let dot = UInt8(ascii: ".")
}

/// Why a path of the file is no pattern.
enum PathPatternError: Error, Equatable {
    case notAbsolute
    case hasQuery
    case badEscape
    case notNormal(spelling: String)
    case emptySegment
    case dotSegment(String)
    case wildcardInSegment(String)
    case restNotLast
    case tooManySegments(Int)
    case encodedNotAllowed(String)

    /// What was found, to be read after the key path.
    var message: String {
        switch self {
        case .notAbsolute: "the path does not begin with '/'"
        case .hasQuery: "the path holds a '?'"
        case .badEscape: "the path holds a '%' without two hexadecimal digits"
        case .notNormal: "the path is not spelled as requests are after normalisation, and would never match"
        case .emptySegment: "the path holds an empty segment ('//')"
        case .dotSegment(let segment): "the segment '\(segment)' is resolved or refused before matching"
        case .wildcardInSegment(let segment): "the segment '\(segment)' mixes '*' with other characters"
        case .restNotLast: "'**' stands before the end of the path"
        case .tooManySegments(let count): "the path has \(count) segments"
        case .encodedNotAllowed(let segment):
            "the segment '\(segment)' holds an encoded byte that requests may not hold"
        }
    }

    /// What to write instead.
    var cure: String {
        switch self {
        case .notAbsolute: "write it with a leading '/'"
        case .hasQuery: "leave the query out; it takes no part in matching"
        case .badEscape: "write '%25' for the character '%'"
        case .notNormal(let spelling): "write '\(spelling)'; a variable segment is '*', not '<id>' or '{id}'"
        case .emptySegment: "write one '/'"
        case .dotSegment: "write the path that it leads to"
        case .wildcardInSegment: "'*' stands for a whole segment; write '%2A' for the character"
        case .restNotLast: "end the path with '/**', and write '*' for single segments before it"
        case .tooManySegments: "at most \(PathPattern.segmentsMax) are allowed"
        case .encodedNotAllowed: "list it under 'allow_encoded' of the route"
        }
    }
}
