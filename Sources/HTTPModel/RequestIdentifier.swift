/// What a request is called in fields, in logs and in traces: 32 lower-case hexadecimal digits, neither half of them
/// all zero (so that each can stand in a `traceparent`, W3C Trace Context). Unique, not secret.
public struct RequestIdentifier: Sendable, CustomStringConvertible {
    private let first: HexDigits
    private let last: HexDigits

    init(first: HexDigits, last: HexDigits) {
        self.first = first
        self.last = last
    }

    /// Appends the 32 digits.
    @inline(__always) public func append(to buffer: inout ByteBuffer) {
        buffer.append(first)
        buffer.append(last)
    }

    /// Appends the last 16 digits.
    @inline(__always) public func appendLastHalf(to buffer: inout ByteBuffer) { buffer.append(last) }

    /// The 32 digits.
    public var description: String {
        var buffer = ByteBuffer(capacity: 32)
        append(to: &buffer)
        return String(decoding: buffer.bytes)
    }
}

/// Makes identifiers: 64 random bits of its own, then a sequence that begins anywhere and meets each number once.
public struct RequestIdentifiers: Sendable {
    private let first = HexDigits(.random(in: 1 ... .max))
    private var number: UInt64

    /// A new series.
    public init() { self.init(after: .random(in: .min ... .max)) }

    init(after number: UInt64) { self.number = number }

    /// The next of the series.
    public mutating func next() -> RequestIdentifier {
        number &+= RequestIdentifiers.step
        if number == 0 { number = RequestIdentifiers.step }
        return RequestIdentifier(first: first, last: HexDigits(number))
    }

    /// Odd, so that all numbers come before one comes again; numbers that follow each other look unlike.
    static let step: UInt64 = 0x9E37_79B9_7F4A_7C15
}

/// A number as 16 lower-case hexadecimal digits.
public struct HexDigits: Sendable {
    // As they lie in memory.
    @usableFromInline let first: UInt64
    @usableFromInline let last: UInt64

    /// The digits of `number`, zeros in front.
    public init(_ number: UInt64) {
        first = HexDigits.eight(of: number >> 32).bigEndian
        last = HexDigits.eight(of: number & 0xFFFF_FFFF).bigEndian
    }

    /// The eight digits of a 32-bit number, the first in the highest byte: all nibbles at once.
    private static func eight(of number: UInt64) -> UInt64 {
        var nibbles = (number | number << 16) & 0x0000_FFFF_0000_FFFF
        nibbles = (nibbles | nibbles << 8) & 0x00FF_00FF_00FF_00FF
        nibbles = (nibbles | nibbles << 4) & 0x0F0F_0F0F_0F0F_0F0F
        let isLetter = (nibbles &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
        return nibbles &+ 0x3030_3030_3030_3030 &+ isLetter &* 0x27
    }
}
