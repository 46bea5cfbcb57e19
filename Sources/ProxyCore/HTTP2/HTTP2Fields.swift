/// One field of a field section, as ranges of its bytes.
struct HTTP2Field: Equatable {
    var name: Range<Int>
    var value: Range<Int>
}

/// Walks through a decoded field section: for each field the lengths of name and value, 32 bits each in the machine's
/// order, then both.
struct HTTP2FieldSection {
    private(set) var position = 0

    mutating func next(_ section: Span<UInt8>) -> HTTP2Field? {
        guard section.count - position >= 8 else { return nil }
        // Both loads check their bounds, and any bytes are a number.
        let nameLength = unsafe Int(section.bytes.unsafeLoadUnaligned(fromByteOffset: position, as: UInt32.self))
        let valueLength = unsafe Int(section.bytes.unsafeLoadUnaligned(fromByteOffset: position + 4, as: UInt32.self))
        let name = position + 8..<position + 8 + nameLength
        let value = name.upperBound..<name.upperBound + valueLength
        position = value.upperBound
        return HTTP2Field(name: name, value: value)
    }
}

/// The fields that mean something to the translation into HTTP/1.1.
enum HTTP2FieldKind {
    case ordinary, host, contentLength, cookie, te, webSocketKey
    /// Concerns an HTTP/1.1 connection, and makes a message malformed (RFC 9113 section 8.2.2).
    case connectionSpecific
}

/// The grammar of single fields (RFC 9113 section 8.2, RFC 9110 sections 5.1 and 5.5).
enum HTTP2FieldGrammar {
    /// Whether `range` is a field name: a token without capitals.
    static func isName(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        guard !range.isEmpty else { return false }
        for index in range {
            let byte = bytes[index]
            guard isToken(byte), byte &- 0x41 >= 26 else { return false }
        }
        return true
    }

    /// Whether `range` is a token, such as a method.
    static func isToken(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        guard !range.isEmpty else { return false }
        for index in range where !isToken(bytes[index]) { return false }
        return true
    }

    /// Whether `range` is a field value: no control byte but tabs, and no blank at either end.
    static func isValue(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        guard let first = range.first, let last = range.last else { return true }
        guard !isBlank(bytes[first]), !isBlank(bytes[last]) else { return false }
        var index = range.lowerBound
        while index < range.upperBound {
            // Eight bytes at once, as long as none of them is a control byte.
            if range.upperBound - index >= 8, !hasControl(bytes, at: index) {
                index += 8
                continue
            }
            let byte = bytes[index]
            guard byte >= 0x20 && byte != 0x7F || byte == 0x09 else { return false }
            index += 1
        }
        return true
    }

    /// Whether one of the eight bytes at `offset` is a control byte.
    @inline(__always)
    private static func hasControl(_ bytes: Span<UInt8>, at offset: Int) -> Bool {
        let ones: UInt64 = 0x0101_0101_0101_0101
        // The load checks its bounds, and any eight bytes are a number.
        let word = unsafe bytes.bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
        let delete = word ^ (ones &* 0x7F)
        // A byte borrows only from one below it that is a control byte itself.
        let hits = (word &- (ones &* 0x20)) & ~word | (delete &- ones) & ~delete
        return hits & (ones &* 0x80) != 0
    }

    /// Whether `range` holds no control byte and no blank: what may stand in a request line without ending a part of it.
    static func isSolid(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        for index in range where bytes[index] <= 0x20 || bytes[index] == 0x7F { return false }
        return true
    }

    /// The number that `range` spells as 1 to 20 decimal digits within 64 bits.
    static func decimal(_ bytes: Span<UInt8>, _ range: Range<Int>) -> UInt64? {
        guard (1...20).contains(range.count) else { return nil }
        var value: UInt64 = 0
        for index in range {
            let digit = bytes[index] &- 0x30
            guard digit <= 9 else { return nil }
            let (product, overflows) = value.multipliedReportingOverflow(by: 10)
            let (sum, carries) = product.addingReportingOverflow(UInt64(digit))
            guard !overflows, !carries else { return nil }
            value = sum
        }
        // Many applications keep lengths in 63 bits.
        return value <= UInt64(Int64.max) ? value : nil
    }

    /// Whether `range` holds exactly `text`, or, for letters, `text` in any case if it is all in lower case.
    static func holds(_ text: StaticString, ignoringCase: Bool = false, _ bytes: Span<UInt8>, _ range: Range<Int>)
        -> Bool
    {
        guard range.count == text.utf8CodeUnitCount else { return false }
        for offset in 0..<range.count {
            var byte = bytes[range.lowerBound + offset]
            if ignoringCase, byte &- 0x41 < 26 { byte |= 0x20 }
            // A literal lives as long as the process and holds utf8CodeUnitCount bytes.
            guard unsafe text.utf8Start[offset] == byte else { return false }
        }
        return true
    }

    /// Which field a checked name, all in lower case, names.
    static func kind(_ bytes: Span<UInt8>, _ name: Range<Int>) -> HTTP2FieldKind {
        switch name.count {
        case 2: holds("te", bytes, name) ? .te : .ordinary
        case 4: holds("host", bytes, name) ? .host : .ordinary
        case 6: holds("cookie", bytes, name) ? .cookie : .ordinary
        case 7: holds("upgrade", bytes, name) ? .connectionSpecific : .ordinary
        case 10:
            holds("connection", bytes, name) || holds("keep-alive", bytes, name) ? .connectionSpecific : .ordinary
        case 14: holds("content-length", bytes, name) ? .contentLength : .ordinary
        case 16: holds("proxy-connection", bytes, name) ? .connectionSpecific : .ordinary
        case 17:
            if holds("transfer-encoding", bytes, name) {
                .connectionSpecific
            } else {
                holds("sec-websocket-key", bytes, name) ? .webSocketKey : .ordinary
            }
        default: .ordinary
        }
    }

    @inline(__always)
    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    /// `tchar` of RFC 9110 section 5.6.2: one bit for each ASCII byte.
    @inline(__always)
    private static func isToken(_ byte: UInt8) -> Bool {
        let bits: UInt64 = byte < 64 ? 0x03FF_6CFA_0000_0000 : 0x57FF_FFFF_C7FF_FFFE
        return byte < 128 && bits >> UInt64(byte & 63) & 1 == 1
    }
}
