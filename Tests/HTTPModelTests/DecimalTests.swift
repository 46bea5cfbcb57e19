import Testing

@testable import HTTPModel

/// The number that a range of bytes spells, beside the slow way to read it.
struct DecimalTests {
    private func number(_ before: String, _ digits: String, _ behind: String = "") -> UInt64? {
        let bytes = Array((before + digits + behind).utf8)
        return bytes.span.decimal(in: before.utf8.count..<before.utf8.count + digits.utf8.count)
    }

    private func reference(_ digits: String) -> UInt64? {
        guard (1...20).contains(digits.utf8.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let value = UInt64(digits), value <= UInt64(Int64.max)
        else { return nil }
        return value
    }

    @Test func `of every length, wherever the digits stand`() {
        var chance = SystemRandomNumberGenerator()
        for count in 0...21 {
            for _ in 0..<50 {
                let digits = String((0..<count).map { _ in "0123456789".randomElement(using: &chance) ?? "0" })
                for before in ["", "1", "12345678", "Content-Length: "] {
                    #expect(number(before, digits, "9\r\n") == reference(digits), "\(before)|\(digits)")
                }
            }
        }
    }

    @Test(arguments: [
        "0", "00000000", "00000001", "99999999", "100000000", "999999999999999999", "9223372036854775807",
        "9223372036854775808", "18446744073709551615", "18446744073709551616", "99999999999999999999",
    ])
    func `at the bounds of what is read at once and of 63 bits`(digits: String) {
        #expect(number("", digits) == reference(digits))
        #expect(number("x: ", digits) == reference(digits))
    }

    @Test(arguments: 1...19)
    func `no other byte is a digit, in any place`(count: Int) {
        for place in 0..<count {
            for byte in UInt8.min...UInt8.max {
                var bytes = Array("12345678".utf8) + [UInt8](repeating: UInt8(ascii: "0"), count: count)
                bytes[8 + place] = byte
                let isDigit = (0x30...0x39).contains(byte)
                for before in [0, 8] {
                    let span = Array(bytes[(8 - before)...]).span
                    #expect((span.decimal(in: before..<before + count) != nil) == isDigit, "\(byte) at \(place)")
                }
            }
        }
    }
}
