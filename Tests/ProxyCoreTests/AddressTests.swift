import HTTPModel
import Testing

@testable import ProxyCore

struct AddressTests {
    @Test(arguments: [
        ("127.0.0.1", "127.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("::", "::"), ("::1", "::1"), ("1::", "1::"),
        ("2001:DB8:0:0:0:0:2:1", "2001:db8::2:1"), ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"), ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("0:0:1::", "0:0:1::"), ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"), ("0:0:0:1:2:3:4:5", "::1:2:3:4:5"),
    ])
    func `addresses are written as RFC 5952 has it`(text: String, canonical: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == canonical)
        #expect(IPAddress(canonical) == address)
    }

    @Test(arguments: ["", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "[::1]", "::1%lo", "1.2.3.4\0", " ::1", ":::"])
    func `what is no address is none`(text: String) { #expect(IPAddress(text) == nil) }

    @Test(arguments: [
        ("10.0.0.1", "10.0.0.0", 104, true), ("10.255.255.255", "10.0.0.0", 104, true),
        ("11.0.0.0", "10.0.0.0", 104, false), ("10.0.0.1", "10.0.0.1", 128, true),
        ("10.0.0.2", "10.0.0.1", 128, false), ("2001:db8::1", "::", 0, true),
        ("2001:db8:0:0:ffff::", "2001:db8::", 64, true), ("2001:db8:0:1::", "2001:db8::", 64, false),
        ("2001:db8::8000:0:0:0", "2001:db8::", 65, false), ("::1", "127.0.0.1", 96, false),
    ])
    func `a network holds its addresses and no others`(address: String, network: String, bits: Int, isIn: Bool) throws {
        let network = try #require(IPAddress(network))
        #expect(try #require(IPAddress(address)).isIn(network: network, prefixLength: bits) == isIn)
    }

    @Test func `socket addresses name their port, and Unix sockets have a bound on their path`() {
        #expect(NetworkAddress(numericHost: "127.0.0.1", port: 80)?.description == "127.0.0.1:80")
        #expect(NetworkAddress(numericHost: "::1", port: 65_535)?.description == "[::1]:65535")
        #expect(NetworkAddress(numericHost: "localhost", port: 80) == nil)
        #expect(NetworkAddress(unixPath: "/run/app")?.description == "unix:/run/app")
        #expect(NetworkAddress(unixPath: "") == nil)
        #expect(NetworkAddress(unixPath: "/a\0b") == nil)
        #expect(NetworkAddress(unixPath: String(repeating: "a", count: 107)) != nil)
        #expect(NetworkAddress(unixPath: String(repeating: "a", count: 108)) == nil)
    }

    @Test(arguments: [
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"), (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
        (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"), (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
    ])
    func `dates are written as RFC 9110 section 5.6.7 has it`(seconds: Int64, text: String) {
        #expect(CivilTime(epochSeconds: seconds).httpDate == text)
    }
}

struct BodyReaderTests {
    /// What a reader makes of some bytes: the body, and whether it ended; `nil` where it failed.
    private func read(_ reader: inout BodyReader, _ text: String) -> (body: String, rest: String)? {
        var bytes = Array(text.utf8)
        var body: [UInt8] = []
        while true {
            let (consumed, event) = reader.next(bytes.span)
            if case .data(let range) = event { body += bytes[range] }
            bytes.removeFirst(consumed)
            switch event {
            case .failed: return nil
            case .needMore, .finished:
                return (String(decoding: body, as: UTF8.self), String(decoding: bytes, as: UTF8.self))
            case .data, .trailers: continue
            }
        }
    }

    @Test func `a body without framing ends when it is told so and its bytes are taken`() throws {
        var reader = BodyReader.untilEnd()
        #expect(!reader.isFinished && !reader.isBare && reader.readableMax == .max)
        #expect(try #require(read(&reader, "abc")) == ("abc", ""))
        reader.endArrived()
        #expect(!reader.isFinished)
        #expect(try #require(read(&reader, "d")) == ("d", "") && reader.isFinished)
        var empty = BodyReader.untilEnd()
        empty.endArrived()
        #expect(try #require(read(&empty, "")) == ("", "") && empty.isFinished)
        var cut = BodyReader.untilEnd()
        let isLawful = cut.closed()
        #expect(!isLawful)
    }

    @Test func `a length ends at its last byte, and what follows is left`() throws {
        var reader = BodyReader(BodyFraming.length(5), extensionBytesMax: 0)
        let first = try #require(read(&reader, "hel"))
        #expect(first == ("hel", "") && !reader.isFinished && reader.readableMax == 2 && reader.isBare)
        let second = try #require(read(&reader, "loGET"))
        #expect(second == ("lo", "GET") && reader.isFinished)
    }

    @Test func `chunks end at their last line, whether they come at once or byte by byte`() throws {
        let text = "5\r\nhello\r\n0\r\nX: y\r\n\r\n"
        var whole = BodyReader(BodyFraming.chunked, extensionBytesMax: 0)
        #expect(try #require(read(&whole, text + "GET")) == ("hello", "GET"))
        var reader = BodyReader(BodyFraming.chunked, extensionBytesMax: 0)
        var body = ""
        for byte in text.unicodeScalars {
            #expect(!reader.isFinished && !reader.isBare)
            body += try #require(read(&reader, String(Character(byte)))).body
        }
        #expect(body == "hello")
    }

    @Test func `only some bodies may end with their connection`() {
        var length = BodyReader(ResponseFraming.length(1), extensionBytesMax: 0)
        var chunked = BodyReader(ResponseFraming.chunked, extensionBytesMax: 0)
        var open = BodyReader(ResponseFraming.untilClose, extensionBytesMax: 0)
        var none = BodyReader(ResponseFraming.none, extensionBytesMax: 0)
        #expect(!length.closed() && !chunked.closed() && open.closed() && none.closed())
        #expect(open.isFinished)
        #expect(BodyReader(ResponseFraming.length(0), extensionBytesMax: 0).isFinished)
    }
}
