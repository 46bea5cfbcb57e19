import Testing

@testable import HTTPModel

struct RequestIdentifierTests {
    private func text(_ append: (inout ByteBuffer) -> Void) -> String {
        var buffer = ByteBuffer()
        append(&buffer)
        return String(decoding: buffer.bytes)
    }

    @Test(arguments: [0, 1, 9, 10, 15, 16, 0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210, .max])
    func `sixteen digits are what Swift prints, with zeros before`(number: UInt64) {
        let digits = String(number, radix: 16)
        #expect(text { $0.append(HexDigits(number)) } == String(repeating: "0", count: 16 - digits.count) + digits)
    }

    @Test func `identifiers of one series differ in their second half alone`() {
        var identifiers = RequestIdentifiers()
        let texts = (0..<1000).map { _ in identifiers.next().description }
        #expect(Set(texts).count == 1000)
        #expect(Set(texts.map { $0.prefix(16) }).count == 1)
        #expect(texts.allSatisfy { $0.utf8.count == 32 && $0.utf8.allSatisfy("0123456789abcdef".utf8.contains) })
        var others = RequestIdentifiers()
        #expect(others.next().description.prefix(16) != texts[0].prefix(16))
    }

    @Test func `the second half is never zero`() {
        var identifiers = RequestIdentifiers(after: 0 &- RequestIdentifiers.step)
        let identifier = identifiers.next()
        #expect(text { identifier.appendLastHalf(to: &$0) } == String(RequestIdentifiers.step, radix: 16))
        #expect(identifiers.next().description != identifier.description)
    }

    @Test func `what is appended is the description`() {
        var identifiers = RequestIdentifiers()
        let identifier = identifiers.next()
        #expect(text { identifier.append(to: &$0) } == identifier.description)
        #expect(text { identifier.appendLastHalf(to: &$0) } == String(identifier.description.suffix(16)))
    }
}
