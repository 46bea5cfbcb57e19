import HTTPModel
import ProxyCore

/// Writes one JSON object for each exchange, field by field; every value from outside is escaped (R32).
///
/// Names and meanings are listed in docs/LOGGING.md. Never written: query strings, credentials, cookies.
struct AccessLogLine: ~Copyable {
    private(set) var buffer: ByteBuffer
    private var isFirst = true
    private var clock = LogClock()

    init(capacity: Int = 1024) { buffer = ByteBuffer(capacity: capacity) }

    mutating func begin() {
        buffer.removeAll()
        buffer.append(UInt8(ascii: "{"))
        isFirst = true
    }

    mutating func end() { buffer.append("}\n" as StaticString) }

    mutating func field(_ name: StaticString, _ value: Span<UInt8>) {
        key(name)
        buffer.append(UInt8(ascii: "\""))
        AccessLogLine.escape(value, into: &buffer)
        buffer.append(UInt8(ascii: "\""))
    }

    mutating func field(_ name: StaticString, _ value: String) {
        var value = value
        key(name)
        buffer.append(UInt8(ascii: "\""))
        value.withUTF8 { utf8 in unsafe AccessLogLine.escape(utf8.span, into: &buffer) }
        buffer.append(UInt8(ascii: "\""))
    }

    mutating func field(_ name: StaticString, number: UInt64) {
        key(name)
        buffer.append(decimal: number)
    }

    mutating func field(_ name: StaticString, _ literal: StaticString) {
        key(name)
        buffer.append(UInt8(ascii: "\""))
        buffer.append(literal)
        buffer.append(UInt8(ascii: "\""))
    }

    /// 32 hexadecimal digits.
    mutating func field(_ name: StaticString, _ identifier: RequestIdentifier) {
        key(name)
        buffer.append(UInt8(ascii: "\""))
        identifier.append(to: &buffer)
        buffer.append(UInt8(ascii: "\""))
    }

    /// An instant as RFC 3339 with milliseconds, UTC.
    mutating func field(_ name: StaticString, epochMilliseconds milliseconds: Int64) {
        key(name)
        buffer.append(UInt8(ascii: "\""))
        clock.append(milliseconds, to: &buffer)
        buffer.append(UInt8(ascii: "\""))
    }

    mutating func field(_ name: StaticString, address: IPAddress) {
        key(name)
        buffer.append(UInt8(ascii: "\""))
        address.append(to: &buffer)
        buffer.append(UInt8(ascii: "\""))
    }

    /// A length of time in milliseconds with three decimals.
    mutating func field(_ name: StaticString, milliseconds nanoseconds: UInt64) {
        key(name)
        let microseconds = nanoseconds / 1000
        buffer.append(decimal: microseconds / 1000)
        buffer.append(UInt8(ascii: "."))
        let fraction = microseconds % 1000
        if fraction < 100 { buffer.append(UInt8(ascii: "0")) }
        if fraction < 10 { buffer.append(UInt8(ascii: "0")) }
        buffer.append(decimal: fraction)
    }

    private mutating func key(_ name: StaticString) {
        if !isFirst { buffer.append(UInt8(ascii: ",")) }
        isFirst = false
        buffer.append(UInt8(ascii: "\""))
        buffer.append(name)
        buffer.append("\":" as StaticString)
    }

    /// JSON string escapes (RFC 8259 section 7). Bytes that are no UTF-8, DEL and all controls are written as `\u00XX`,
    /// so that a line is valid JSON and shows no byte that a terminal would act on.
    static func escape(_ value: Span<UInt8>, into buffer: inout ByteBuffer) {
        var plainFrom = 0
        var index = 0
        while index < value.count {
            let byte = value[index]
            if byte >= 0x20, byte < 0x7F, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") {
                index += 1
                continue
            }
            let sequence = byte >= 0x80 && !isLineEnd(value, at: index) ? utf8Length(value, at: index) : 0
            if sequence > 0 {
                index += sequence
                continue
            }
            buffer.append(value, plainFrom..<index)
            if let scalar = escapedSequence(value, at: index) {
                buffer.append("\\u" as StaticString)
                buffer.append(scalar)
                index += scalar == "2028" || scalar == "2029" ? 3 : 2
                plainFrom = index
                continue
            }
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
                buffer.append(UInt8(ascii: "\\"))
                buffer.append(byte)
            } else {
                buffer.append("\\u00" as StaticString)
                if byte < 0x10 { buffer.append(UInt8(ascii: "0")) }
                buffer.append(hex: UInt64(byte))
            }
            index += 1
            plainFrom = index
        }
        buffer.append(value, plainFrom..<value.count)
    }

    /// The four digits of a C1 control (U+0080 to U+009F) or of one of Unicode's line ends, which some readers of logs
    /// take for the end of a line.
    private static func escapedSequence(_ value: Span<UInt8>, at index: Int) -> String? {
        if value[index] == 0xC2, index + 1 < value.count, (0x80...0x9F).contains(value[index + 1]) {
            return "00" + String(value[index + 1], radix: 16)
        }
        return isLineEnd(value, at: index) ? (value[index + 2] == 0xA8 ? "2028" : "2029") : nil
    }

    private static func isLineEnd(_ value: Span<UInt8>, at index: Int) -> Bool {
        index + 2 < value.count && value[index] == 0xE2 && value[index + 1] == 0x80
            && (value[index + 2] == 0xA8 || value[index + 2] == 0xA9)
    }

    /// The length of a well-formed multi-byte sequence (RFC 3629 section 4) that is no C1 control, or zero.
    private static func utf8Length(_ value: Span<UInt8>, at index: Int) -> Int {
        func continuation(_ offset: Int, from low: UInt8 = 0x80, to high: UInt8 = 0xBF) -> Bool {
            index + offset < value.count && value[index + offset] >= low && value[index + offset] <= high
        }
        switch value[index] {
        case 0xC2: return continuation(1, from: 0xA0) ? 2 : 0
        case 0xC3...0xDF: return continuation(1) ? 2 : 0
        case 0xE0: return continuation(1, from: 0xA0) && continuation(2) ? 3 : 0
        case 0xED: return continuation(1, to: 0x9F) && continuation(2) ? 3 : 0
        case 0xE1...0xEF: return continuation(1) && continuation(2) ? 3 : 0
        case 0xF0: return continuation(1, from: 0x90) && continuation(2) && continuation(3) ? 4 : 0
        case 0xF1...0xF3: return continuation(1) && continuation(2) && continuation(3) ? 4 : 0
        case 0xF4: return continuation(1, to: 0x8F) && continuation(2) && continuation(3) ? 4 : 0
        default: return 0
        }
    }
}
