import HTTPModel
import Testing

@Suite struct ByteBufferTests {
    private func text(_ buffer: borrowing ByteBuffer) -> String {
        let bytes = buffer.bytes
        return String(decoding: (0..<bytes.count).map { bytes[$0] }, as: UTF8.self)
    }

    @Test func `holds what was appended, in order, across growth`() {
        var buffer = ByteBuffer()
        var expected = ""
        for number in 0..<2000 {
            buffer.append(decimal: UInt64(number))
            buffer.append(UInt8(ascii: ","))
            expected += "\(number),"
        }
        #expect(text(buffer) == expected)
    }

    @Test func `consuming drops from the front, and appending goes on behind`() {
        var buffer = ByteBuffer(capacity: 8)
        buffer.append("abcdef" as StaticString)
        buffer.consume(5)
        buffer.append("ghijk" as String)
        #expect(text(buffer) == "fghijk")
        buffer.consume(6)
        #expect(buffer.count == 0)
    }

    @Test(arguments: [0, 1, 9, 10, 15, 16, 255, 256, 4095, 4096, UInt64(UInt32.max), .max])
    func `numbers read as Swift prints them`(number: UInt64) {
        var buffer = ByteBuffer()
        buffer.append(decimal: number)
        buffer.append(UInt8(ascii: " "))
        buffer.append(hex: number)
        #expect(text(buffer) == "\(number) \(String(number, radix: 16))")
    }

    @Test func `dotted bytes are the numbers that Swift prints`() {
        for byte in UInt32(0)...255 {
            for others in [UInt32(0), 9, 10, 99, 100, 255] {
                var buffer = ByteBuffer()
                buffer.append(dottedBytes: byte << 24 | others << 16 | byte << 8 | others)
                #expect(text(buffer) == "\(byte).\(others).\(byte).\(others)")
            }
        }
    }

    @Test func `decimal numbers are those of Swift at each power of ten and between`() {
        var chance = SystemRandomNumberGenerator()
        var numbers: [UInt64] = []
        var power: UInt64 = 1
        for _ in 0..<19 {
            numbers += [power - 1, power, power + 1, power * 9, power + power / 2]
            numbers += (0..<200).map { _ in UInt64.random(in: power..<power * 10, using: &chance) }
            power *= power < 1_000_000_000_000_000_000 ? 10 : 1
        }
        for number in numbers {
            var buffer = ByteBuffer()
            buffer.append(decimal: number)
            #expect(text(buffer) == String(number))
        }
    }

    @Test func `taking moves the contents out`() {
        var buffer = ByteBuffer()
        buffer.append("left" as StaticString)
        let taken = buffer.take()
        #expect(buffer.count == 0)
        #expect(text(taken) == "left")
    }

    @Test func `a fill that fails appends nothing`() {
        var buffer = ByteBuffer()
        let failed = unsafe buffer.fillFreeSpace(minimum: 10) { _ in -1 }
        #expect(failed == -1)
        #expect(buffer.count == 0)
        let written = unsafe buffer.fillFreeSpace(minimum: 10) { region in
            unsafe region.storeBytes(of: 0x41, as: UInt8.self)
            return 1
        }
        #expect(written == 1)
        #expect(text(buffer) == "A")
    }

    @Test func `a slow reference and the buffer agree on a long run of operations`() {
        var random = SystemRandomNumberGenerator()
        var buffer = ByteBuffer()
        var reference: [UInt8] = []
        for _ in 0..<5000 {
            if Bool.random(using: &random) {
                let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in UInt8.random(in: 0...255) }
                buffer.append(bytes)
                reference += bytes
            } else {
                let byteCount = Int.random(in: 0...reference.count, using: &random)
                buffer.consume(byteCount)
                reference.removeFirst(byteCount)
            }
            #expect(buffer.count == reference.count)
        }
        let bytes = buffer.bytes
        #expect((0..<bytes.count).map { bytes[$0] } == reference)
    }
}
