import HTTPModel
import JOSE
import Testing

@testable import AuthGateway

struct AccessLogLineTests {
    private func escaped(_ bytes: [UInt8]) -> [UInt8] {
        var buffer = ByteBuffer()
        AccessLogLine.escape(bytes.span, into: &buffer)
        return buffer.withBytes { span in span.indices.map { span[$0] } }
    }

    @Test(arguments: [
        ("plain", "plain"), ("a\"b\\c", #"a\"b\\c"#), ("a\r\nb", #"a\u000d\u000ab"#), ("\u{1B}[2J", #"\u001b[2J"#),
        ("\u{7F}", #"\u007f"#), ("é€😀", "é€😀"), ("\u{85}", #"\u0085"#), ("a\u{2028}b\u{2029}", #"a\u2028b\u2029"#),
    ])
    func `escapes what would break the line or act on a terminal`(text: String, line: String) {
        #expect(escaped(text.bytes) == line.bytes)
    }

    @Test func `any bytes make a valid JSON string without controls (R32)`() throws {
        var generator = SeededGenerator(seed: 32)
        let interesting: [UInt8] = [
            0, 9, 10, 13, 0x1B, 0x22, 0x5C, 0x7F, 0x80, 0x9B, 0xC2, 0xE0, 0xED, 0xF0, 0xF4, 0xFF,
        ]
        for _ in 0..<5000 {
            let bytes = (0..<Int.random(in: 0...12, using: &generator)).map { _ in
                Bool.random(using: &generator)
                    ? generator.pick(interesting) : UInt8.random(in: 0...255, using: &generator)
            }
            let text = escaped(bytes)
            #expect(text.allSatisfy { $0 >= 0x20 && $0 != 0x7F })
            #expect(throws: Never.self, "\(bytes)") {
                _ = try JSONValue(parsing: "{\"a\":\"".bytes + text + "\"}".bytes)
            }
        }
    }

    @Test(arguments: [
        (0, "1970-01-01T00:00:00.000Z"), (1_709_164_799_999, "2024-02-28T23:59:59.999Z"),
        (1_709_164_800_005, "2024-02-29T00:00:00.005Z"), (951_782_400_050, "2000-02-29T00:00:00.050Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
    ])
    func `writes instants as RFC 3339`(milliseconds: Int64, text: String) {
        var clock = LogClock()
        for _ in 0..<2 {
            var buffer = ByteBuffer()
            clock.append(milliseconds, to: &buffer)
            #expect(buffer.withBytes { span in span.indices.map { span[$0] } } == text.bytes)
        }
    }
}

struct FieldValueTests {
    @Test(arguments: [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
        ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
        ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1", false),
        ("00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01", false), ("", false),
    ])
    func `a sound traceparent goes on`(text: String, isSound: Bool) {
        let found = GatewayFilter.isTraceparent(text.bytes.span)
        #expect(found == isSound)
    }

    @Test(arguments: [
        ("Bearer abc", "abc"), ("bearer abc", "abc"), ("BEARER   abc", "abc"), ("Bearer", nil), ("Bearer ", nil),
        ("Bearer\tabc", nil), ("Basic abcdef", nil), ("Bearerabc", nil), ("", nil), ("Bearer a", "a"),
    ])
    func `finds the token of a bearer credential`(value: String, token: String?) {
        let bytes = value.bytes
        let found = GatewayFilter.bearerToken(in: bytes.span)
        #expect(found.map { Array(bytes[$0]) } == token?.bytes)
    }

    @Test func `a session's key comes from 43 base64url bytes and nothing else`() {
        let good = String(repeating: "aZ0-_", count: 9).prefix(43)
        let key = GatewayFilter.sessionKey(String(good).bytes.span)
        #expect(key != nil)
        for bad in [
            good.dropLast() + "=", good.dropLast() + "+", good.dropLast() + "", good + "a", good.dropLast() + "é",
        ] {
            let none = GatewayFilter.sessionKey(String(bad).bytes.span)
            #expect(none == nil, "\(bad)")
        }
    }
}
