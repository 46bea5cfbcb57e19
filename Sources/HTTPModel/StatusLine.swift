/// Reads a status line byte by byte (RFC 9112 section 4). The reason is checked for control bytes and ignored; the
/// space before it may be missing with it, as some servers leave it out.
struct StatusLine {
    enum Outcome { case more, end, failed(ResponseHeadError) }

    private(set) var status = 0
    private(set) var minorVersion: UInt8 = 1
    private var offset = 0

    /// `HTTP/1.1 200`, then the reason, then the line feed.
    private static let reasonOffset = 12
    private static let lineFeedOffset = 14

    /// Reads `HTTP/1.1` or `HTTP/1.0` at once, if the line begins with it in the first eight bytes of `word`.
    ///
    /// - Parameter word: the first eight bytes of the line, the first one lowest.
    /// - Returns: how many bytes were read: eight, or none.
    mutating func readVersion(_ word: UInt64) -> Int {
        // The last byte is the digit, and only its lowest bit may differ.
        guard offset == 0, word & ~(1 << 56) == 0x302E_312F_5054_5448 else { return 0 }
        minorVersion = UInt8(truncatingIfNeeded: word >> 56) & 1
        offset = 8
        return 8
    }

    mutating func read(_ byte: UInt8) -> Outcome {
        let here = offset
        offset += 1
        switch here {
        case 0..<5:
            let name: StaticString = "HTTP/"
            // A static string lives as long as the process; here is below its five bytes.
            if unsafe name.utf8Start[here] == byte { return .more }
        case 5:
            guard Byte.isDigit(byte) else { break }
            return byte == Byte.zero + 1 ? .more : .failed(.unsupportedVersion)
        case 6:
            if byte == Byte.dot { return .more }
        case 7:
            guard Byte.isDigit(byte) else { break }
            minorVersion = min(byte - Byte.zero, 1)
            return .more
        case 8:
            if byte == Byte.space { return .more }
        case 9..<Self.reasonOffset:
            guard Byte.isDigit(byte) else { break }
            status = status * 10 + Int(byte - Byte.zero)
            return .more
        case Self.lineFeedOffset:
            return byte == Byte.lineFeed ? .end : .failed(.syntax(.bareCarriageReturn))
        default:
            switch byte {
            case Byte.carriageReturn: offset = Self.lineFeedOffset
            case Byte.space where here == Self.reasonOffset: break
            case _ where here == Self.reasonOffset:
                return .failed(byte == Byte.lineFeed ? .syntax(.bareLineFeed) : .invalidStatusLine)
            case Byte.lineFeed: return .failed(.syntax(.bareLineFeed))
            case Byte.tab: offset = here
            case _ where Byte.isControl(byte): return .failed(.syntax(.invalidValue))
            default: offset = here
            }
            return .more
        }
        return .failed(byte == Byte.lineFeed ? .syntax(.bareLineFeed) : .invalidStatusLine)
    }
}
