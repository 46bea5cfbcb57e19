/// A JSON number, kept as its text so that nothing is lost (RFC 8259 section 6).
public struct JSONNumber: Sendable, Equatable, CustomStringConvertible {
    /// As written; conforms to the grammar.
    public let text: String

    /// An integer in its shortest form.
    public init(_ value: Int64) { text = String(value) }

    /// The reader has checked the grammar.
    init(checked text: String) { self.text = text }

    /// The text.
    public var description: String { text }

    /// The nearest binary value; `nil` where the number is beyond the range of `Double`.
    public var double: Double? {
        guard let value = Double(text), value.isFinite else { return nil }
        return value
    }

    /// The exact value of a number that is mathematically an integer, however it is written, and fits.
    public var int64: Int64? {
        let decimal = Decimal(text)
        guard decimal.digits.count + decimal.exponent <= 19 else { return nil }
        guard !decimal.digits.isEmpty else { return 0 }
        guard decimal.exponent >= 0 else { return nil }
        return decimal.integer
    }

    /// The largest integer that is not greater; `nil` where it does not fit.
    public var floor: Int64? { rounded(towardsNegative: true) }

    /// The smallest integer that is not less; `nil` where it does not fit.
    public var ceiling: Int64? { rounded(towardsNegative: false) }

    private func rounded(towardsNegative: Bool) -> Int64? {
        if let int64 { return int64 }
        var decimal = Decimal(text)
        guard decimal.exponent < 0 else { return nil }
        decimal.truncate()
        guard decimal.digits.count + decimal.exponent <= 19, let truncated = decimal.integer else { return nil }
        // Truncation went towards zero; a fraction is known to have been there.
        if decimal.isNegative { return towardsNegative ? truncated.addingOrNil(-1) : truncated }
        return towardsNegative ? truncated : truncated.addingOrNil(1)
    }

    /// The number as `digits * 10^exponent`, without zeros at either end of the digits; zero has no digits.
    private struct Decimal {
        var isNegative: Bool
        var digits: [UInt8]
        var exponent: Int

        init(_ text: String) {
            var digits: [UInt8] = []
            var exponent = 0
            var isFraction = false
            let bytes = Array(text.utf8)
            let end = bytes.firstIndex { $0 == UInt8(ascii: "e") || $0 == UInt8(ascii: "E") } ?? bytes.endIndex
            for byte in bytes[..<end] {
                switch byte {
                case UInt8(ascii: "."): isFraction = true
                case UInt8(ascii: "0")...UInt8(ascii: "9"):
                    if isFraction { exponent -= 1 }
                    if byte != UInt8(ascii: "0") || !digits.isEmpty { digits.append(byte - UInt8(ascii: "0")) }
                default: break
                }
            }
            exponent += end < bytes.endIndex ? Decimal.exponent(bytes[(end + 1)...]) : 0
            while digits.last == 0 {
                digits.removeLast()
                exponent += 1
            }
            isNegative = bytes.first == UInt8(ascii: "-")
            self.digits = digits
            self.exponent = digits.isEmpty ? 0 : exponent
        }

        /// Beyond ±`exponentMax` all exponents are alike: the text is far shorter, so that no digit can make up for it.
        private static func exponent(_ bytes: ArraySlice<UInt8>) -> Int {
            var value = 0
            for byte in bytes where byte >= UInt8(ascii: "0") {
                value = min(value * 10 + Int(byte - UInt8(ascii: "0")), exponentMax)
            }
            return bytes.first == UInt8(ascii: "-") ? -value : value
        }

        mutating func truncate() {
            digits.removeLast(min(digits.count, -exponent))
            exponent = 0
        }

        /// The value of a decimal of at most 19 digits and no negative exponent.
        var integer: Int64? {
            var value: Int64 = 0
            for index in 0..<(digits.count + exponent) {
                let digit = Int64(index < digits.count ? digits[index] : 0)
                let (product, didOverflow) = value.multipliedReportingOverflow(by: 10)
                let (sum, didOverflowAgain) = product.addingReportingOverflow(isNegative ? -digit : digit)
                guard !didOverflow, !didOverflowAgain else { return nil }
                value = sum
            }
            return value
        }

        private static let exponentMax = 1 << 40
    }
}

extension Int64 {
    fileprivate func addingOrNil(_ other: Int64) -> Int64? {
        let (sum, didOverflow) = addingReportingOverflow(other)
        return didOverflow ? nil : sum
    }
}
