internal import HTTPModel

/// The names of trailer fields that are passed on (RFC 9110 section 6.5); all others are dropped.
///
/// Whoever makes one leaves out what must never be a trailer: framing, routing, credentials, and what the gateway writes.
public final class TrailerNames: Sendable {
    private let request: [[UInt8]]
    private let response: [[UInt8]]

    /// Names in any case, of tokens (RFC 9110 section 5.1); what is no token is left out.
    public init(request: [String], response: [String]) {
        self.request = request.compactMap(TrailerNames.name)
        self.response = response.compactMap(TrailerNames.name)
    }

    private static func name(_ text: String) -> [UInt8]? {
        let bytes = Array(text.lowercased().utf8)
        return bytes.isEmpty || !bytes.allSatisfy(isToken) ? nil : bytes
    }

    private static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }

    func appendRequest(_ section: Span<UInt8>, to buffer: inout ByteBuffer) {
        TrailerNames.append(section, of: request, to: &buffer)
    }

    func appendResponse(_ section: Span<UInt8>, to buffer: inout ByteBuffer) {
        TrailerNames.append(section, of: response, to: &buffer)
    }

    /// Copies the lines of a checked trailer section whose names are listed.
    private static func append(_ section: Span<UInt8>, of names: [[UInt8]], to buffer: inout ByteBuffer) {
        var start = 0
        while start < section.count {
            var end = start
            while end < section.count, section[end] != 0x0A { end += 1 }
            // The decoder lets no line pass without CR and LF; the section's last line is empty.
            guard end < section.count, end > start + 1 else { return }
            let line = start..<end + 1
            if names.contains(where: { isNamed($0, section, line) }) { buffer.append(section, line) }
            start = end + 1
        }
    }

    private static func isNamed(_ name: [UInt8], _ section: Span<UInt8>, _ line: Range<Int>) -> Bool {
        guard line.count > name.count, section[line.lowerBound + name.count] == UInt8(ascii: ":") else { return false }
        for offset in 0..<name.count {
            let byte = section[line.lowerBound + offset]
            guard name[offset] == (byte &- 0x41 < 26 ? byte | 0x20 : byte) else { return false }
        }
        return true
    }
}
