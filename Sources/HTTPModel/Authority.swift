/// The grammar of `uri-host [ ":" port ]` (RFC 3986 section 3.2.2, RFC 9110 section 7.2).
enum Authority {
    /// The longest host, in bytes: DNS names are at most 253.
    static let hostBytesMax = 255

    /// Whether `range` is a host with an optional port of 1 to 5 digits, at most 65,535.
    ///
    /// Stricter than the grammar: an empty host, an empty port, user information, percent escapes, a comma (as between
    /// two hosts), IPv6 zones and addresses of future versions are refused, because servers read them in different ways.
    static func isValid(_ bytes: Span<UInt8>, _ range: Range<Int>, needsPort: Bool = false) -> Bool {
        guard let host = hostRange(bytes, range) else { return false }
        if host.upperBound == range.upperBound { return !needsPort }
        guard bytes[host.upperBound] == Byte.colon else { return false }
        let port = host.upperBound + 1..<range.upperBound
        guard port.count <= 5, let number = bytes.decimal(in: port) else { return false }
        return number <= 65_535
    }

    /// The host at the beginning of `range`, brackets included, if it is valid.
    private static func hostRange(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Range<Int>? {
        guard let first = range.first else { return nil }
        if bytes[first] == Byte.openBracket {
            guard let bracket = bytes.firstIndex(of: Byte.closeBracket, in: range) else { return nil }
            return isIPv6(bytes, first + 1..<bracket) ? first..<bracket + 1 : nil
        }
        var end = first
        while end < range.upperBound, ByteTable.has(bytes[end], ByteTable.hostName) { end += 1 }
        let isOnlyDot = end == first + 1 && bytes[first] == Byte.dot
        guard end > first, end - first <= hostBytesMax, !isOnlyDot else { return nil }
        return first..<end
    }

    /// Whether `range` is an `IPv6address` of RFC 3986: eight groups, or fewer around one `::`; IPv4 may end it.
    static func isIPv6(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        var groups = 0
        var hasGap = false
        var index = range.lowerBound
        if range.count >= 2, bytes[index] == Byte.colon {
            guard bytes[index + 1] == Byte.colon else { return false }
            hasGap = true
            index += 2
        }
        while index < range.upperBound {
            let start = index
            while index < range.upperBound, Byte.hexValue(bytes[index]) != nil { index += 1 }
            if index < range.upperBound, bytes[index] == Byte.dot {
                guard isIPv4(bytes, start..<range.upperBound) else { return false }
                groups += 2
                break
            }
            guard (1...4).contains(index - start) else { return false }
            groups += 1
            guard groups <= 8 else { return false }
            guard index < range.upperBound else { break }
            guard bytes[index] == Byte.colon, index + 1 < range.upperBound else { return false }
            index += 1
            if bytes[index] == Byte.colon {
                guard !hasGap else { return false }
                hasGap = true
                index += 1
            }
        }
        return hasGap ? groups <= 7 : groups == 8
    }

    /// Whether `range` is four numbers of 0 to 255 without leading zeros, between dots.
    static func isIPv4(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        var start = range.lowerBound
        for part in 0..<4 {
            let end = bytes.firstIndex(of: Byte.dot, in: start..<range.upperBound) ?? range.upperBound
            guard (1...3).contains(end - start), let number = bytes.decimal(in: start..<end), number <= 255,
                end - start == 1 || bytes[start] != Byte.zero
            else { return false }
            guard part < 3 else { return end == range.upperBound }
            guard end < range.upperBound else { return false }
            start = end + 1
        }
        return false
    }
}
