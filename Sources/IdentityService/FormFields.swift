/// The fields of a form, or of a query in the same format.
struct FormFields {
    private let values: [String: String]

    /// `nil` when anything in it can be read in two ways: a broken escape, bytes that are no UTF-8, a name given
    /// twice, more than 32 fields.
    init?(_ bytes: some Collection<UInt8>) {
        var values: [String: String] = [:]
        let pairs = bytes.split(separator: UInt8(ascii: "&"))
        guard pairs.count <= FormFields.countMax else { return nil }
        for pair in pairs {
            let parts = pair.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = FormFields.decode(parts[0]),
                let value = FormFields.decode(parts.count == 2 ? parts[1] : nil),
                values.updateValue(value, forKey: name) == nil
            else { return nil }
        }
        self.values = values
    }

    subscript(name: String) -> String? { values[name] }

    static let none = FormFields(values: [:])
    private init(values: [String: String]) { self.values = values }

    private static func decode(_ bytes: (some Collection<UInt8>)?) -> String? {
        guard let bytes else { return "" }
        return PercentEncoding.decode(Array(bytes), plusIsSpace: true).flatMap { String(validating: $0, as: UTF8.self) }
    }

    private static let countMax = 32
}

/// RFC 3986 section 2.1, and `application/x-www-form-urlencoded` with it.
enum PercentEncoding {
    /// `nil` for a `%` that two hexadecimal digits do not follow.
    static func decode(_ bytes: [UInt8], plusIsSpace: Bool) -> [UInt8]? {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(bytes.count)
        var index = 0
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "%"):
                guard index + 2 < bytes.count, let high = hexValue(bytes[index + 1]),
                    let low = hexValue(bytes[index + 2])
                else { return nil }
                decoded.append(high << 4 | low)
                index += 3
            case UInt8(ascii: "+") where plusIsSpace:
                decoded.append(0x20)
                index += 1
            case let byte:
                decoded.append(byte)
                index += 1
            }
        }
        return decoded
    }

    /// Encodes everything but unreserved bytes, for a value in a query.
    static func encode(_ text: String) -> String {
        var encoded: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                encoded.append(byte)
            default: encoded += [UInt8(ascii: "%"), hexDigits[Int(byte >> 4)], hexDigits[Int(byte & 15)]]
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }

    private static let hexDigits = Array("0123456789ABCDEF".utf8)

    private static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
