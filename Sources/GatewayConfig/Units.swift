/// Decimal digits as the file writes them: no sign, no leading zero, no separator, no point.
enum Digits {
    static func value(_ text: some StringProtocol) -> Int? {
        guard (1...18).contains(text.utf8.count), text.utf8.allSatisfy(Bytes.isDigit) else { return nil }
        guard text == "0" || text.utf8.first != UInt8(ascii: "0") else { return nil }
        return Int(text)
    }
}

enum Bytes {
    static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }

    static func isHexDigit(_ byte: UInt8) -> Bool {
        isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
    }

    /// The bytes of a token (RFC 9110 section 5.6.2).
    static func isTokenByte(_ byte: UInt8) -> Bool { isLetterOrDigit(byte) || "!#$%&'*+-.^_`|~".utf8.contains(byte) }
}

/// Durations, sizes and rates as the file writes them.
enum Units {
    /// `10s`, `500ms`, `1d`; `nil` for anything else.
    static func duration(_ text: String) -> Duration? {
        let (number, unit) = split(text)
        guard let count = Digits.value(number), let length = durations.first(where: { $0.unit == unit }) else {
            return nil
        }
        let (milliseconds, overflow) = count.multipliedReportingOverflow(by: length.milliseconds)
        return overflow ? nil : .milliseconds(milliseconds)
    }

    /// The shortest spelling; whole milliseconds.
    static func duration(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let milliseconds = Int(seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000)
        guard milliseconds > 0 else { return "0s" }
        for length in durations where milliseconds % length.milliseconds == 0 {
            return "\(milliseconds / length.milliseconds)\(length.unit)"
        }
        return "\(milliseconds)ms"
    }

    /// `16KiB`, `64KB`, `512`; `nil` for anything else.
    static func bytes(_ text: String) -> Int? {
        let (number, unit) = split(text)
        guard let count = Digits.value(number) else { return nil }
        let name = unit.hasPrefix(" ") && unit != " " ? unit.dropFirst() : unit
        guard let size = sizes.first(where: { $0.unit == name }) else { return nil }
        let (bytes, overflow) = count.multipliedReportingOverflow(by: size.bytes)
        return overflow ? nil : bytes
    }

    static func size(_ bytes: Int) -> String {
        for size in sizes where size.isBinary && bytes > 0 && bytes % size.bytes == 0 {
            return "\(bytes / size.bytes)\(size.unit)"
        }
        return "\(bytes)"
    }

    /// `5/minute` or `5 per minute`.
    static func rate(_ text: String) -> Rate? {
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        let parts =
            words.count == 3 && words[1] == "per"
            ? [words[0], words[2]] : text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let count = Digits.value(parts[0]) else { return nil }
        return Rate.Unit(rawValue: String(parts[1])).map { Rate(count: count, unit: $0) }
    }

    private static func split(_ text: String) -> (number: Substring, unit: Substring) {
        let end = text.utf8.firstIndex { !Bytes.isDigit($0) } ?? text.endIndex
        return (text[..<end], text[end...])
    }

    private static let durations: [(unit: String, milliseconds: Int)] = [
        ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
    ]
    private static let sizes: [(unit: String, bytes: Int, isBinary: Bool)] = [
        ("GiB", 1 << 30, true), ("MiB", 1 << 20, true), ("KiB", 1 << 10, true), ("GB", 1_000_000_000, false),
        ("MB", 1_000_000, false), ("KB", 1000, false), ("B", 1, false), ("", 1, false),
    ]
}

/// How many in which period.
struct Rate: Sendable, Equatable {
    enum Unit: String, Sendable, CaseIterable {
        case second, minute, hour, day

        var period: Duration {
            switch self {
            case .second: .seconds(1)
            case .minute: .minutes(1)
            case .hour: .hours(1)
            case .day: .days(1)
            }
        }
    }
    var count: Int
    var unit: Unit
}

extension SettingType where Value == Rate {
    static let rate = SettingType(
        name: "rate",
        allowed: "a rate such as 5/minute or '5 per minute', by second, minute, hour or day, 1 to 1000000",
        schema: .members([
            "type": .string("string"), "pattern": .string("^[1-9][0-9]*(/| per )(second|minute|hour|day)$"),
        ]),
        read: { text throws(Refusal) in
            guard let rate = Units.rate(text) else { throw Refusal("\(text.quoted) is no rate") }
            guard (1...1_000_000).contains(rate.count) else { throw Refusal("\(text.quoted) is out of range") }
            return rate
        },
        show: { "\($0.count)/\($0.unit.rawValue)" })
}

extension Duration {
    static func minutes(_ count: Int) -> Duration { .seconds(60 * count) }
    static func hours(_ count: Int) -> Duration { .minutes(60 * count) }
    static func days(_ count: Int) -> Duration { .hours(24 * count) }
}
