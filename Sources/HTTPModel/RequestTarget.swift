/// Why a path is refused; the answer is always 400.
public enum TargetError: Error, Equatable, Sendable {
    /// The path does not begin with `/`.
    case notAbsolute
    /// A raw `#`, `\`, `?`, control byte, space or byte above 0x7E.
    case invalidByte
    /// A `%` without two hexadecimal digits behind it.
    case badEscape
    /// The path begins with `//`, as sent or once its dot segments are resolved: applications strip one of them.
    case leadingSlashes
    /// A segment that some server takes for `.` or `..`, but not all: a dot is encoded, or `;`, `%3B`, `%00`, `%2F` or
    /// `%5C` stands beside the dots.
    case disguisedDotSegment
    /// The path climbs above the root.
    case climbsAboveRoot
    /// More than 64 segments.
    case tooManySegments
    /// What the path decodes to is no UTF-8.
    case invalidUTF8

    /// The status that answers it.
    public var status: Int { 400 }
}

/// What a listener allows in request targets.
public struct TargetPolicy: Equatable, Sendable {
    /// Whether a path may decode to something that is no UTF-8.
    public var allowInvalidUTF8: Bool

    /// Memberwise.
    public init(allowInvalidUTF8: Bool = false) {
        self.allowInvalidUTF8 = allowInvalidUTF8
    }
}

/// Brings paths into their one normal form, and refuses those that two servers could read in two ways.
public enum RequestTarget {
    /// The most segments of a path.
    public static let segmentsMax = 64

    /// Writes the normal form of `path`, which is without its query, to `result`: encoded unreserved bytes are decoded
    /// (RFC 3986 section 2.3), hexadecimal digits are in upper case, dot segments are resolved (section 5.2.4). An empty
    /// path is `/`, as in `http://host`. Nil, or why the path is refused; `result` means nothing then.
    ///
    /// Runs of `/` inside the path, and all other encoded bytes, stay as they are.
    public static func normalize(
        path: Span<UInt8>, policy: TargetPolicy = TargetPolicy(), into result: inout NormalizedPath
    ) -> TargetError? {
        precondition(path.count <= result.buffer.capacity)
        result.hasEmptySegments = false
        result.encodedSpecials = []
        result.hasEncodedPrintable = false
        result.isUnchanged = isPlain(path)
        if result.isUnchanged {
            result.buffer.assign(path)
            return nil
        }
        var normalizer = PathNormalizer(policy: policy)
        if let error = normalizer.run(path, into: &result.buffer) { return error }
        return result.survey()
    }

    /// Whether `path` is its own normal form without a look at its segments: no escape, no run of `/`, and no segment
    /// that begins with a dot. Most paths are.
    private static func isPlain(_ path: Span<UInt8>) -> Bool {
        var slashes = 0
        var previous: UInt8 = 0
        var index = 0
        guard path.count > 0, path[0] == Byte.slash else { return false }
        while index < path.count {
            let byte = path[index]
            guard ByteTable.has(byte, ByteTable.plainPath) else { return false }
            if byte == Byte.slash { slashes += 1 }
            if previous == Byte.slash, byte == Byte.slash || byte == Byte.dot { return false }
            previous = byte
            index += 1
        }
        return slashes <= segmentsMax
    }
}

extension NormalizedPath {
    /// Finds out what the normal form holds. All escapes in it are sound.
    fileprivate mutating func survey() -> TargetError? {
        var previous: UInt8 = 0
        var index = 0
        while index < buffer.count {
            let byte = buffer[index]
            if byte == Byte.slash, previous == Byte.slash {
                guard index > 1 else { return .leadingSlashes }
                hasEmptySegments = true
            }
            if byte == Byte.percent {
                let high = Byte.hexValue(buffer[index + 1]) ?? 0
                let low = Byte.hexValue(buffer[index + 2]) ?? 0
                switch high << 4 | low {
                case Byte.slash: encodedSpecials.insert(.slash)
                case Byte.backslash: encodedSpecials.insert(.backslash)
                case 0: encodedSpecials.insert(.nul)
                case 1..<0x20, 0x7F: encodedSpecials.insert(.controls)
                case 0x20..<0x7F: hasEncodedPrintable = true
                default: break
                }
            }
            previous = byte
            index += 1
        }
        return nil
    }
}
