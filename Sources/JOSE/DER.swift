/// The few DER forms (X.690) that keys and signatures need.
enum DER {
    /// A SEQUENCE of encoded elements.
    static func sequence(_ elements: [UInt8]...) -> [UInt8] { encoded(tag: 0x30, Array(elements.joined())) }

    /// A BIT STRING of whole bytes.
    static func bitString(_ bytes: [UInt8]) -> [UInt8] { encoded(tag: 0x03, [0] + bytes) }

    /// An INTEGER that is not negative, from big-endian bytes.
    static func unsignedInteger(_ bytes: some Collection<UInt8>) -> [UInt8] {
        var digits = Array(bytes.drop { $0 == 0 })
        // The first bit is the sign; zero itself has one byte.
        if digits.first.map({ $0 >= 0x80 }) ?? true { digits.insert(0, at: 0) }
        return encoded(tag: 0x02, digits)
    }

    private static func encoded(tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        let count = content.count
        if count < 0x80 { return [tag, UInt8(count)] + content }
        if count < 0x100 { return [tag, 0x81, UInt8(count)] + content }
        precondition(count < 0x1_0000, "no key is that long")
        return [tag, 0x82, UInt8(count >> 8), UInt8(count & 0xFF)] + content
    }
}

/// ECDSA signatures on P-256: JWS has two numbers of 32 bytes side by side (RFC 7518 section 3.4), OpenSSL wants DER.
enum ECDSASignature {
    /// The DER form of `r || s`; `nil` unless there are 64 bytes and both numbers lie within 1 ..< order.
    static func der(raw: [UInt8]) -> [UInt8]? {
        guard raw.count == 64, isInRange(raw[..<32]), isInRange(raw[32...]) else { return nil }
        return DER.sequence(DER.unsignedInteger(raw[..<32]), DER.unsignedInteger(raw[32...]))
    }

    /// `r || s` of a DER form that OpenSSL has made: every length in it is a single byte.
    static func raw(der: [UInt8]) -> [UInt8]? {
        guard der.count >= 2, der[0] == 0x30, Int(der[1]) == der.count - 2 else { return nil }
        var rest = der[2...]
        guard let r = takeInteger(&rest), let s = takeInteger(&rest), rest.isEmpty else { return nil }
        return r + s
    }

    private static func takeInteger(_ rest: inout ArraySlice<UInt8>) -> [UInt8]? {
        guard rest.popFirst() == 0x02, let count = rest.popFirst(), count <= rest.count else { return nil }
        let digits = rest.prefix(Int(count)).drop { $0 == 0 }
        rest = rest.dropFirst(Int(count))
        guard digits.count <= 32 else { return nil }
        return [UInt8](repeating: 0, count: 32 - digits.count) + digits
    }

    private static func isInRange(_ number: ArraySlice<UInt8>) -> Bool {
        number.contains { $0 != 0 } && number.lexicographicallyPrecedes(order)
    }

    /// The number of points of P-256 (FIPS 186-4 D.1.2.3).
    private static let order: [UInt8] = [
        0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
    ]
}
