/// The byte that an escape at `index` stands for (RFC 3986 section 2.1); `nil` where no complete escape begins.
///
/// `end` bounds what may be read, so that an escape never reaches over the end of its segment.
@inline(__always)
func decodedEscape(_ bytes: Span<UInt8>, at index: Int, before end: Int) -> UInt8? {
    guard index + 2 < end, bytes[index] == UInt8(ascii: "%") else { return nil }
    guard let high = hexValue(bytes[index + 1]), let low = hexValue(bytes[index + 2]) else { return nil }
    return high << 4 | low
}

/// The value of a hexadecimal digit in either case.
@inline(__always)
func hexValue(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    default: nil
    }
}

/// Whether RFC 3986 section 2.3 calls the byte unreserved: its escape and itself are the same.
func isUnreserved(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"):
        true
    default: false
    }
}

/// Appends the escape of a byte, with upper-case digits.
func appendEscape(of byte: UInt8, to output: inout [UInt8]) {
    output.append(UInt8(ascii: "%"))
    output.append(upperHexDigits[Int(byte >> 4)])
    output.append(upperHexDigits[Int(byte & 15)])
}

private let upperHexDigits = Array("0123456789ABCDEF".utf8)
