import Testing

@testable import ProxyCore

/// Tables from the protocol's specification: each form of both versions, and each way to be wrong.
@Suite struct ProxyProtocolTests {
    private typealias Reading = ProxyHeader.Reading

    private static func read(_ bytes: [UInt8]) -> Reading { ProxyHeader.read(bytes.span) }
    private static func read(_ text: String) -> Reading { read(Array(text.utf8)) }

    private static func complete(_ byteCount: Int, _ address: String?, _ port: UInt16 = 0) -> Reading {
        let source = address.flatMap { IPAddress($0) }.map { ProxyHeader.Source(address: $0, port: port) }
        return .complete(ProxyHeader(byteCount: byteCount, source: source))
    }

    // MARK: Version 1

    @Test(
        arguments: [
            ("PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\r\n", "192.0.2.7", 56324),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", 65535),
            ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0", 0),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 1 443\r\n", "2001:db8::7", 1),
            ("PROXY TCP6 2001:DB8:0:0:0:0:0:7 ::1 1 443\r\n", "2001:db8::7", 1),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535
            ), ("PROXY TCP6 ::ffff:192.0.2.7 ::1 5 6\r\n", "192.0.2.7", 5),
        ] as [(String, String, UInt16)])
    func `a line says the source, and what follows it is left alone`(line: String, address: String, port: UInt16) {
        let wanted = Self.complete(line.utf8.count, address, port)
        #expect(Self.read(line) == wanted)
        for behind in ["GET / HTTP/1.1\r\n", "\r\n", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "\u{16}\u{3}"] {
            #expect(Self.read(line + behind) == wanted)
        }
    }

    @Test(arguments: [
        "PROXY UNKNOWN\r\n", "PROXY UNKNOWN \r\n", "PROXY UNKNOWN ffff:f... whatever 65535\r\n",
        "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
    ])
    func `of an unknown source the socket's own address holds`(line: String) {
        #expect(Self.read(line) == Self.complete(line.utf8.count, nil))
    }

    @Test func `a line may have 107 bytes and no more`() {
        let longest = "PROXY UNKNOWN " + String(repeating: "x", count: 91) + "\r\n"
        #expect(longest.utf8.count == 107)
        #expect(Self.read(longest) == Self.complete(107, nil))
        let longer = Array(("PROXY UNKNOWN " + String(repeating: "x", count: 92) + "\r\n").utf8)
        #expect(Self.read(longer) == .malformed)
        #expect(Self.read(Array(longer.dropLast(2))) == .incomplete, "106 bytes")
        #expect(Self.read(longer.dropLast()) == .malformed, "107 bytes, of which CR is the last")
        #expect(Self.read(longer[..<106] + [120]) == .malformed)
    }

    @Test(arguments: [
        "proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n", "PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY\tTCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        " PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\r",
        "PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 00 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4  1\r\n", "PROXY TCP4 01.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n", "PROXY TCP4 1.2.3.4. 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.400 1 1\r\n",
        "PROXY TCP4 ::1 1.2.3.4 1 1\r\n", "PROXY TCP4 ::ffff:1.2.3.4 ::1 1 1\r\n", "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP6 ::1 1.2.3.4 1 1\r\n", "PROXY TCP6 ::g ::1 1 1\r\n", "PROXY TCP6 1::2::3 ::1 1 1\r\n",
        "PROXY TCP6 [::1] ::1 1 1\r\n", "PROXY TCP6 ::1%1 ::1 1 1\r\n", "PROXY TCP6 12345::1 ::1 1 1\r\n",
        "PROXY TCP4 1.2.3.4\0 1.2.3.4 1 1\r\n", "PROXY tcp4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n", "PROXY UNKNOWNX\r\n", "PROXY \r\n", "PROXY TCP6 :: ::1 1 1\r\n",
        "PROXX", "PX", "GET / HTTP/1.1\r\n", "\u{16}\u{3}\u{1}", "X", "\0",
    ])
    func `a line in any other form is none`(line: String) {
        #expect(Self.read(line) == .malformed)
    }

    // MARK: Version 2

    private static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10]
    private static let v4: [UInt8] = [192, 0, 2, 7, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB]
    private static let v6: [UInt8] =
        [0x20, 1, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [7] + [UInt8](repeating: 9, count: 16) + [
            0xDC, 0x04, 0x01, 0xBB,
        ]

    private static func header(
        _ command: UInt8 = 0x21, _ family: UInt8 = 0x11, _ rest: [UInt8] = v4, length: Int? = nil
    ) -> [UInt8] {
        let length = length ?? rest.count
        return signature + [command, family, UInt8(length >> 8), UInt8(length & 0xFF)] + rest
    }

    @Test(
        arguments: [
            (header(), "192.0.2.7", 56324), (header(0x21, 0x21, v6), "2001:db8::7", 56324),
            (header(0x21, 0x11, [UInt8](repeating: 0, count: 12)), "0.0.0.0", 0),
        ] as [([UInt8], String, UInt16)])
    func `the binary form says the source, and what follows it is left alone`(
        bytes: [UInt8], address: String, port: UInt16
    ) {
        let wanted = Self.complete(bytes.count, address, port)
        #expect(Self.read(bytes) == wanted)
        #expect(Self.read(bytes + Array("GET / HTTP/1.1\r\n".utf8)) == wanted)
        #expect(Self.read(bytes + bytes) == wanted)
    }

    @Test(arguments: [
        // The proxy's own connection, whatever else it says: also what would be wrong elsewhere.
        header(0x20, 0x00, []), header(0x20), header(0x20, 0xFF, [1, 2, 3]), header(0x20, 0x11, []),
        // Families that are lawful and say nothing of use.
        header(0x21, 0x00, []), header(0x21, 0x00, [1, 2, 3]), header(0x21, 0x12), header(0x21, 0x22, v6),
        header(0x21, 0x31, [UInt8](repeating: 0x61, count: 216)), header(0x21, 0x32, [UInt8](repeating: 0, count: 216)),
    ])
    func `where the header tells nothing the socket's own address holds`(bytes: [UInt8]) {
        #expect(Self.read(bytes) == Self.complete(bytes.count, nil))
    }

    @Test(arguments: [
        // Versions and commands.
        header(0x11), header(0x31), header(0x01), header(0x22), header(0x2F), header(0x00), header(0xFF),
        // Families and transports.
        header(0x21, 0x10), header(0x21, 0x13), header(0x21, 0x01, []), header(0x21, 0x20, v6), header(0x21, 0x41, v6),
        header(0x21, 0x30, [UInt8](repeating: 0, count: 216)), header(0x21, 0xFF),
        // Lengths that do not hold the addresses.
        header(0x21, 0x11, Array(v4.dropLast())), header(0x21, 0x11, []), header(0x21, 0x21, Array(v6.dropLast())),
        header(0x21, 0x21, v4), header(0x21, 0x31, [UInt8](repeating: 0, count: 215)),
        // Values that do not fill the rest exactly.
        header(0x21, 0x11, v4 + [0]), header(0x21, 0x11, v4 + [4, 0]), header(0x21, 0x11, v4 + [4, 0, 1]),
        header(0x21, 0x11, v4 + [4, 0, 0, 9]), header(0x21, 0x11, v4 + [4, 0xFF, 0xFF]),
        // An address that nobody has.
        header(0x21, 0x21, [UInt8](repeating: 0, count: 36)),
    ])
    func `what the binary form does not allow is refused`(bytes: [UInt8]) {
        #expect(Self.read(bytes) == .malformed)
    }

    @Test func `other values are skipped, and a checksum is compared`() {
        let before: [UInt8] = [4, 0, 3, 97, 98, 99]
        let behind: [UInt8] = [5, 0, 1, 0x75]
        #expect(Self.read(Self.header(0x21, 0x11, Self.v4 + before)) == Self.complete(34, "192.0.2.7", 56324))
        func with(_ sum: [UInt8]) -> Reading {
            Self.read(Self.header(0x21, 0x11, Self.v4 + before + [3, 0, UInt8(sum.count)] + sum + behind))
        }
        // By an independent implementation.
        let right: [UInt8] = [0x03, 0xB4, 0x52, 0x81]
        #expect(with(right) == Self.complete(45, "192.0.2.7", 56324))
        for index in 0..<4 {
            var wrong = right
            wrong[index] ^= 1
            #expect(with(wrong) == .malformed)
        }
        #expect(with([0, 0, 0, 0]) == .malformed)
        #expect(with([]) == .malformed && with([1, 2, 3]) == .malformed && with(right + [0]) == .malformed)
        // A right checksum says so of each byte that it covers.
        let whole = Self.header(0x21, 0x11, Self.v4 + before + [3, 0, 4] + right + behind)
        for index in 16..<whole.count where index != 34 && !(37..<41).contains(index) {
            var changed = whole
            changed[index] ^= 0x80
            #expect(Self.read(changed) == .malformed, "byte \(index)")
        }
        // Two of them: which one holds?
        #expect(Self.read(Self.header(0x21, 0x11, Self.v4 + [3, 0, 4] + right + [3, 0, 4] + right)) == .malformed)
    }

    @Test func `a header may have 4,096 bytes and no more`() {
        func filled(_ total: Int) -> [UInt8] {
            let value = total - 16 - 12 - 3
            let noOperation: [UInt8] = [4, UInt8(value >> 8), UInt8(value & 0xFF)]
            return Self.header(0x21, 0x11, Self.v4 + noOperation + [UInt8](repeating: 0, count: value))
        }
        #expect(Self.read(filled(4096)) == Self.complete(4096, "192.0.2.7", 56324))
        #expect(Self.read(filled(4097)) == .malformed)
        // Known by its sixteenth byte, before the rest has come.
        #expect(Self.read(Self.header(0x21, 0x11, [], length: 0xFFFF)) == .malformed)
        #expect(Self.read(Self.header(0x20, 0x00, [], length: 0xFFFF)) == .malformed)
    }

    @Test(arguments: [
        header(), header(0x21, 0x21, v6), header(0x20, 0x00, []), header(0x21, 0x11, v4 + [4, 0, 2, 0, 0]),
        Array("PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\r\n".utf8), Array("PROXY UNKNOWN\r\n".utf8),
    ])
    func `a header that is cut anywhere is not complete, and never another one`(bytes: [UInt8]) {
        for count in 0..<bytes.count {
            #expect(Self.read(Array(bytes.prefix(count))) == .incomplete, "\(count) bytes")
        }
        guard case .complete = Self.read(bytes) else {
            Issue.record("the whole is one")
            return
        }
    }

    @Test func `a signature that is wrong in any byte is none`() {
        for index in 0..<12 {
            var bytes = Self.header()
            bytes[index] ^= 1
            #expect(Self.read(bytes) == .malformed, "byte \(index)")
            #expect(Self.read(Array(bytes.prefix(index + 1))) == .malformed, "known by byte \(index)")
        }
        #expect(Self.read(Self.signature + [0x22]) == .malformed, "a command is known by its byte")
    }
}
