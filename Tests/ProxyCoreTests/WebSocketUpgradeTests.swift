import HTTPModel
import Testing

@testable import ProxyCore

struct WebSocketUpgradeTests {
    /// The example of RFC 6455 section 1.3.
    private static let key = Array("dGhlIHNhbXBsZSBub25jZQ==".utf8)
    private static let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

    @Test func `answers a key as RFC 6455 has it`() {
        #expect(WebSocketUpgrade.accept(Self.key) == Array(Self.accept.utf8))
    }

    @Test func `keys are 16 bytes in base64, and differ`() {
        let keys = (0..<50).map { _ in WebSocketUpgrade.makeKey() }
        #expect(Set(keys).count == 50)
        for key in keys { #expect(key.count == 24 && key.suffix(2) == Array("==".utf8)) }
    }

    @Test(arguments: [
        ("Sec-WebSocket-Accept: \(accept)\r\n", true),
        ("sec-websocket-accept:\(accept)\r\n", true),
        ("", false),
        ("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n", false),
        ("Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", false),
        ("Sec-WebSocket-Accept: \(accept)\r\nSec-WebSocket-Accept: \(accept)\r\n", false),
        ("Sec-WebSocket-Accept: \r\n", false),
        ("Sec_WebSocket-Accept: \(accept)\r\n", false),
    ]) func `takes one right proof, and nothing else`(fields: String, isAccepted: Bool) throws {
        let bytes = Array("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\(fields)\r\n".utf8)
        var head = ResponseHead(fieldCapacity: 16)
        guard case .complete = head.parse(bytes.span, limits: HeadLimits(bytesMax: 4096, fieldsMax: 16)) else {
            Issue.record("the head is not read")
            return
        }
        #expect(WebSocketUpgrade.accepts(Self.key, head, bytes.span) == isAccepted)
    }
}
