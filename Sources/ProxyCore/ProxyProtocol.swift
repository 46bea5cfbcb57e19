internal import HTTPModel

/// The header with which a proxy begins a connection to say whose it is: the PROXY protocol of HAProxy, versions 1 and 2.
///
/// Read strictly, without I/O. Whether the peer is to be believed is for the caller to know.
struct ProxyHeader: Equatable {
    /// Where the proxied connection comes from.
    struct Source: Equatable {
        var address: IPAddress
        var port: UInt16
    }

    /// How far the bytes go.
    enum Reading: Equatable {
        /// So far it is one; more has to come.
        case incomplete
        case complete(ProxyHeader)
        case malformed
    }

    let byteCount: Int
    /// `nil`: the peer speaks for itself, or does not know; the socket's own address holds.
    let source: Source?

    static let byteCountMax = 4096

    /// Looks at the first bytes of a connection; what follows the header is left alone.
    static func read(_ bytes: Span<UInt8>) -> Reading {
        guard bytes.count > 0 else { return .incomplete }
        return bytes[0] == UInt8(ascii: "P") ? readText(bytes) : readBinary(bytes)
    }

    /// Whether the bytes are the beginning as far as both go.
    private static func agrees(_ bytes: Span<UInt8>, with beginning: StaticString) -> Bool {
        for index in 0..<min(bytes.count, beginning.utf8CodeUnitCount) {
            // Within the literal.
            let wanted = unsafe beginning.utf8Start[index]
            guard bytes[index] == wanted else { return false }
        }
        return true
    }
}

// MARK: Version 1

extension ProxyHeader {
    /// `PROXY TCP4 192.0.2.1 198.51.100.2 56324 443`, CRLF.
    private static func readText(_ bytes: Span<UInt8>) -> Reading {
        guard agrees(bytes, with: "PROXY ") else { return .malformed }
        let seen = min(bytes.count, textBytesMax)
        guard let end = (0..<seen).first(where: { bytes[$0] == UInt8(ascii: "\r") || bytes[$0] == UInt8(ascii: "\n") })
        else { return bytes.count < textBytesMax ? .incomplete : .malformed }
        guard bytes[end] == UInt8(ascii: "\r"), end + 1 < textBytesMax else { return .malformed }
        guard end + 1 < bytes.count else { return .incomplete }
        guard bytes[end + 1] == UInt8(ascii: "\n") else { return .malformed }
        let byteCount = end + 2
        let line = String(decoding: bytes.extracting(0..<end))
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        // The rest of such a line means nothing.
        if words[1] == "UNKNOWN" { return .complete(ProxyHeader(byteCount: byteCount, source: nil)) }
        guard words.count == 6, words[1] == "TCP4" || words[1] == "TCP6",
            let address = address(words[2], isIPv6: words[1] == "TCP6"),
            Self.address(words[3], isIPv6: words[1] == "TCP6") != nil,
            let port = port(words[4]), Self.port(words[5]) != nil
        else { return .malformed }
        return complete(byteCount: byteCount, source: Source(address: address, port: port))
    }

    private static func address(_ word: Substring, isIPv6: Bool) -> IPAddress? {
        guard word.contains(":") == isIPv6 else { return nil }
        return IPAddress(String(word))
    }

    /// 0 to 65535 in decimal digits, the first of which is zero for zero alone.
    private static func port(_ word: Substring) -> UInt16? {
        let isNumber = word.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard isNumber, word == "0" || word.first != "0" else { return nil }
        return UInt16(word)
    }

    /// With CRLF.
    private static let textBytesMax = 107
}

// MARK: Version 2

extension ProxyHeader {
    /// Twelve bytes of signature, version and command, family and transport, the length of the rest; addresses; more
    /// values, each with its type and length.
    private static func readBinary(_ bytes: Span<UInt8>) -> Reading {
        guard agrees(bytes, with: "\r\n\r\n\0\r\nQUIT\n") else { return .malformed }
        guard bytes.count >= fixedByteCount else {
            // What is wrong already stays wrong.
            return bytes.count > 12 && !(0x20...0x21).contains(bytes[12]) ? .malformed : .incomplete
        }
        guard let command = Command(rawValue: bytes[12]) else { return .malformed }
        let byteCount = fixedByteCount + (Int(bytes[14]) << 8 | Int(bytes[15]))
        guard byteCount <= byteCountMax else { return .malformed }
        let family = Family(rawValue: bytes[13])
        // With the command for the proxy's own connections, such as its health checks, nothing else means anything.
        guard command == .local || family != nil else { return .malformed }
        guard bytes.count >= byteCount else { return .incomplete }
        guard command == .proxy, let family, family != .unspecified else {
            return .complete(ProxyHeader(byteCount: byteCount, source: nil))
        }
        let header = bytes.extracting(0..<byteCount)
        let valuesStart = fixedByteCount + family.addressByteCount
        guard valuesStart <= byteCount, areSoundValues(of: header, from: valuesStart) else { return .malformed }
        switch family {
        case .tcp4:
            let address = IPAddress(high: 0, low: 0xFFFF_0000_0000 | number(header, fixedByteCount, 4))
            let port = UInt16(number(header, fixedByteCount + 8, 2))
            return complete(byteCount: byteCount, source: Source(address: address, port: port))
        case .tcp6:
            let address = IPAddress(
                high: number(header, fixedByteCount, 8), low: number(header, fixedByteCount + 8, 8))
            let port = UInt16(number(header, fixedByteCount + 32, 2))
            return complete(byteCount: byteCount, source: Source(address: address, port: port))
        case .unspecified, .udp4, .udp6, .unixStream, .unixDatagram:
            // Lawful, and nothing that a peer could be known by here.
            return .complete(ProxyHeader(byteCount: byteCount, source: nil))
        }
    }

    /// `::` would stand for a peer on a Unix socket; nobody's connection comes from there.
    private static func complete(byteCount: Int, source: Source) -> Reading {
        guard source.address != .unspecified else { return .malformed }
        return .complete(ProxyHeader(byteCount: byteCount, source: source))
    }

    private enum Command: UInt8 { case local = 0x20, proxy = 0x21 }

    /// The address family in the high half, the transport in the low one.
    private enum Family: UInt8 {
        case unspecified = 0x00
        case tcp4 = 0x11
        case udp4 = 0x12
        case tcp6 = 0x21
        case udp6 = 0x22
        case unixStream = 0x31
        case unixDatagram = 0x32

        /// Both ends.
        var addressByteCount: Int {
            switch self {
            case .unspecified: 0
            case .tcp4, .udp4: 12
            case .tcp6, .udp6: 36
            case .unixStream, .unixDatagram: 216
            }
        }
    }

    /// Whether the values behind the addresses fill the header exactly, and its checksum, if it has one, is right.
    private static func areSoundValues(of header: Span<UInt8>, from start: Int) -> Bool {
        var index = start
        var checksumStart: Int?
        while index < header.count {
            guard index + 3 <= header.count else { return false }
            let length = Int(number(header, index + 1, 2))
            guard index + 3 + length <= header.count else { return false }
            if header[index] == checksumType {
                guard length == 4, checksumStart == nil else { return false }
                checksumStart = index + 3
            }
            index += 3 + length
        }
        guard let checksumStart else { return true }
        return UInt64(checksum(of: header, zeroAt: checksumStart)) == number(header, checksumStart, 4)
    }

    /// CRC-32C (RFC 3309) of the header, in which the four bytes of the sum itself count as zero.
    private static func checksum(of header: Span<UInt8>, zeroAt start: Int) -> UInt32 {
        var sum = UInt32.max
        for index in header.indices {
            sum ^= (start..<start + 4).contains(index) ? 0 : UInt32(header[index])
            for _ in 0..<8 { sum = sum & 1 == 0 ? sum >> 1 : sum >> 1 ^ 0x82F6_3B78 }
        }
        return ~sum
    }

    /// Big-endian.
    private static func number(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> UInt64 {
        var number: UInt64 = 0
        for index in start..<start + count { number = number << 8 | UInt64(bytes[index]) }
        return number
    }

    private static let fixedByteCount = 16
    private static let checksumType: UInt8 = 0x03
}
