/// Searches and comparisons over the bytes of a head. All offsets are checked by the span.
extension Span<UInt8> {
    /// The eight bytes at `offset` as a number whose lowest byte is the first one.
    @inline(__always)
    func word(at offset: Int) -> UInt64 {
        // The load checks its bounds, and any eight bytes are a valid UInt64.
        UInt64(littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    /// The offset of the first `byte` in `range`, or nil.
    @inline(__always)
    func firstIndex(of byte: UInt8, in range: Range<Int>) -> Int? {
        var index = range.lowerBound
        while index < range.upperBound {
            if self[index] == byte { return index }
            index += 1
        }
        return nil
    }

    /// The offset of the first control byte (0x00 to 0x1F, or 0x7F) from `start` to before `end`; `end` if there is none.
    @inline(__always)
    func firstControl(from start: Int, to end: Int) -> Int {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let highBits: UInt64 = 0x8080_8080_8080_8080
        var index = start
        while end - index >= 8 {
            let word = word(at: index)
            let delete = word ^ (ones &* 0x7F)
            // Subtracting borrows into a byte only from a byte below that is a hit itself, so the lowest hit is exact.
            let hits = (((word &- (ones &* 0x20)) & ~word) | ((delete &- ones) & ~delete)) & highBits
            if hits != 0 { return index + hits.trailingZeroBitCount >> 3 }
            index += 8
        }
        while index < end, !Byte.isControl(self[index]) { index += 1 }
        return index
    }

    /// `range` without the blanks at both of its ends.
    @inline(__always)
    func trimmingBlanks(_ range: Range<Int>) -> Range<Int> {
        var start = range.lowerBound
        var end = range.upperBound
        while start < end, Byte.isBlank(self[start]) { start += 1 }
        while start < end, Byte.isBlank(self[end - 1]) { end -= 1 }
        return start..<end
    }

    /// Whether the bytes of `range` are those of `text`, byte for byte.
    @inline(__always)
    func holds(_ text: StaticString, in range: Range<Int>) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        var offset = 0
        while offset < text.utf8CodeUnitCount {
            // A static string lives as long as the process and holds utf8CodeUnitCount bytes.
            guard unsafe text.utf8Start[offset] == self[range.lowerBound + offset] else { return false }
            offset += 1
        }
        return true
    }

    /// Whether the bytes of `range` are those of `text` but for the case of ASCII letters; `text` is in lower case.
    @inline(__always)
    func holds(lowercased text: StaticString, in range: Range<Int>) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        var offset = 0
        while offset < text.utf8CodeUnitCount {
            // A static string lives as long as the process and holds utf8CodeUnitCount bytes.
            let expected = unsafe text.utf8Start[offset]
            guard Byte.lowercased(self[range.lowerBound + offset]) == expected else { return false }
            offset += 1
        }
        return true
    }

    /// Whether the token in `range` is `text` but for case, where `text` is letters, digits and hyphens in lower case.
    ///
    /// Among token bytes only a letter of the other case differs from one of these in the bit 0x20 alone, so that eight
    /// bytes can be folded at once: what would become `-` or a digit is a control byte, which no token holds.
    @inline(__always)
    func holds(token text: StaticString, in range: Range<Int>) -> Bool {
        let count = text.utf8CodeUnitCount
        guard range.count == count else { return false }
        // A static string lives as long as the process; every load is within its count bytes.
        let expected = unsafe UnsafeRawPointer(text.utf8Start)
        var offset = 0
        while count - offset >= 8 {
            let word = unsafe expected.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            let folded = self.word(at: range.lowerBound + offset) | 0x2020_2020_2020_2020
            guard folded == UInt64(littleEndian: word) else { return false }
            offset += 8
        }
        while offset < count {
            let byte = unsafe expected.load(fromByteOffset: offset, as: UInt8.self)
            guard self[range.lowerBound + offset] | 0x20 == byte else { return false }
            offset += 1
        }
        return true
    }

    /// Whether two ranges hold the same bytes but for the case of ASCII letters.
    func equalsIgnoringCase(_ range: Range<Int>, _ other: Range<Int>) -> Bool {
        guard range.count == other.count else { return false }
        var offset = 0
        while offset < range.count {
            let byte = Byte.lowercased(self[range.lowerBound + offset])
            guard byte == Byte.lowercased(self[other.lowerBound + offset]) else { return false }
            offset += 1
        }
        return true
    }

    /// The number below 2^63 that `range` spells as 1 to 20 decimal digits, or nil for anything else.
    func decimal(in range: Range<Int>) -> UInt64? {
        guard range.count > 8 else { return shortDecimal(in: range) }
        guard range.count <= 20 else { return nil }
        var value: UInt64 = 0
        for index in range {
            let digit = self[index] &- Byte.zero
            guard digit <= 9 else { return nil }
            let (product, overflows) = value.multipliedReportingOverflow(by: 10)
            let (sum, carries) = product.addingReportingOverflow(UInt64(digit))
            guard !overflows, !carries else { return nil }
            value = sum
        }
        // Many applications keep lengths in 63 bits.
        return value <= UInt64(Int64.max) ? value : nil
    }

    /// Of 1 to 8 digits: all at once where eight bytes end with them.
    @inline(__always)
    private func shortDecimal(in range: Range<Int>) -> UInt64? {
        guard range.count > 0 else { return nil }
        guard range.upperBound >= 8 else {
            var value: UInt64 = 0
            for index in range {
                let digit = self[index] &- Byte.zero
                guard digit <= 9 else { return nil }
                value = value &* 10 &+ UInt64(digit)
            }
            return value
        }
        // What is before the digits is shifted out, and zeros come in: the last digit stays in the highest byte.
        let isDigits = UInt64.max << UInt64(64 - 8 * range.count)
        let values = (word(at: range.upperBound - 8) ^ 0x3030_3030_3030_3030) & isDigits
        // Above nine: the high bit, or six more carry into the high half.
        guard (values | (values &+ 0x0606_0606_0606_0606)) & 0xF0F0_F0F0_F0F0_F0F0 == 0 else { return nil }
        // Pairs, then fours, then all eight.
        let pairs = (values &* 10 &+ values >> 8) & 0x00FF_00FF_00FF_00FF
        let fours = (pairs &* 100 &+ pairs >> 16) & 0x0000_FFFF_0000_FFFF
        return (fours &* 10_000 &+ fours >> 32) & 0xFFFF_FFFF
    }
}

/// Walks through a comma-separated list (RFC 9110 section 5.6.1), skipping empty elements as recipients must.
struct ListElements {
    private var position: Int
    private let end: Int

    init(_ range: Range<Int>) {
        position = range.lowerBound
        end = range.upperBound
    }

    /// The next element without the blanks around it, or nil at the end.
    mutating func next(in bytes: Span<UInt8>) -> Range<Int>? {
        while position < end {
            let comma = bytes.firstIndex(of: Byte.comma, in: position..<end) ?? end
            let element = bytes.trimmingBlanks(position..<comma)
            position = comma + 1
            if !element.isEmpty { return element }
        }
        return nil
    }
}
