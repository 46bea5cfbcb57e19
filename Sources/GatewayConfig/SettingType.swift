internal import IdentityModel

/// How the text of one kind of value is read and shown.
struct SettingType<Value: Sendable>: Sendable {
    /// Such as `duration`.
    let name: String
    /// What is allowed, as it follows "write".
    let allowed: String
    let schema: JSONText
    let read: @Sendable (String) throws(Refusal) -> Value
    let show: @Sendable (Value) -> String
}

extension SettingType where Value == Bool {
    static let boolean = SettingType(
        name: "boolean", allowed: "true or false", schema: .members(["type": .string("boolean")]),
        read: { text throws(Refusal) in
            switch text {
            case "true": return true
            case "false": return false
            default: throw Refusal("\(text.quoted) is no boolean")
            }
        },
        show: { $0 ? "true" : "false" })
}

extension SettingType where Value == Int {
    /// Decimal digits alone: YAML 1.1 would read `010` as 8 and `1:30` as 90.
    static func integer(_ range: ClosedRange<Int>) -> SettingType {
        SettingType(
            name: "integer", allowed: "a decimal number from \(range.lowerBound) to \(range.upperBound)",
            schema: .members([
                "type": .string("integer"), "minimum": .integer(range.lowerBound),
                "maximum": .integer(range.upperBound),
            ]),
            read: { text throws(Refusal) in
                guard let value = Digits.value(text) else { throw Refusal("\(text.quoted) is no decimal number") }
                guard range.contains(value) else { throw Refusal("\(text.quoted) is out of range") }
                return value
            },
            show: { "\($0)" })
    }

    /// A number of bytes.
    static func size(_ range: ClosedRange<Int>) -> SettingType {
        SettingType(
            name: "size",
            allowed:
                "a size such as 16KiB or 64KB, from \(Units.size(range.lowerBound)) to \(Units.size(range.upperBound))",
            schema: .members([
                "type": .array([.string("string"), .string("integer")]),
                "pattern": .string("^(0|[1-9][0-9]*) ?(B|KB|KiB|MB|MiB|GB|GiB)?$"),
            ]),
            read: { text throws(Refusal) in
                guard let value = Units.bytes(text) else { throw Refusal("\(text.quoted) is no size") }
                guard range.contains(value) else { throw Refusal("\(text.quoted) is out of range") }
                return value
            },
            show: Units.size)
    }
}

extension SettingType where Value == Duration {
    /// A length of time with its unit.
    static func duration(_ range: ClosedRange<Duration>) -> SettingType {
        SettingType(
            name: "duration",
            allowed: "a duration such as 500ms, 10s, 5m, 8h or 1d, "
                + "from \(Units.duration(range.lowerBound)) to \(Units.duration(range.upperBound))",
            schema: .members([
                "type": .string("string"), "pattern": .string("^(0|[1-9][0-9]*)(ms|s|m|h|d)$"),
            ]),
            read: { text throws(Refusal) in
                guard let value = Units.duration(text) else { throw Refusal("\(text.quoted) is no duration") }
                guard range.contains(value) else { throw Refusal("\(text.quoted) is out of range") }
                return value
            },
            show: Units.duration)
    }
}

extension SettingType where Value == String {
    /// Text without control characters, 1 to `bytesMax` bytes.
    static func text(bytesMax: Int = 256, what: String = "text") -> SettingType {
        SettingType(
            name: what, allowed: "1 to \(bytesMax) bytes without control characters",
            schema: .members(["type": .string("string"), "minLength": .integer(1), "maxLength": .integer(bytesMax)]),
            read: { text throws(Refusal) in
                guard !text.isEmpty else { throw Refusal("the value is empty") }
                guard text.utf8.count <= bytesMax else { throw Refusal("the value has \(text.utf8.count) bytes") }
                guard !text.unicodeScalars.contains(where: \.isInvisible) else {
                    throw Refusal("the value holds a control character")
                }
                return text
            },
            show: { $0 })
    }

    /// A path of a file; one that is not absolute counts from the configuration file's folder.
    static let path = SettingType(
        name: "path", allowed: "the path of a file",
        schema: .members(["type": .string("string"), "minLength": .integer(1)]),
        read: { text throws(Refusal) in try SettingType.text(bytesMax: 4096).read(text) },
        show: { $0 })

    /// Name of an upstream, limit or group: letters, digits, `.`, `_` and `-`.
    static let name = SettingType(
        name: "name", allowed: "1 to 64 letters, digits, '.', '_' or '-'",
        schema: .members(["type": .string("string"), "pattern": .string("^[A-Za-z0-9._-]{1,64}$")]),
        read: { text throws(Refusal) in
            let isName =
                (1...64).contains(text.utf8.count)
                && text.utf8.allSatisfy { Bytes.isLetterOrDigit($0) || ".-_".utf8.contains($0) }
            guard isName else { throw Refusal("\(text.quoted) is no name") }
            return text
        },
        show: { $0 })

    static func word(_ words: String...) -> SettingType {
        SettingType(
            name: "word", allowed: words.joined(separator: ", ", last: " or "),
            schema: .members(["enum": .array(words.map { .string($0) })]),
            read: { text throws(Refusal) in
                guard words.contains(text) else { throw Refusal("\(text.quoted) is not known here") }
                return text
            },
            show: { $0 })
    }
}

extension SettingType where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
    /// One of the enumeration's raw values.
    static var choice: SettingType {
        let words = Value.allCases.map(\.rawValue)
        return SettingType(
            name: "word", allowed: words.joined(separator: ", ", last: " or "),
            schema: .members(["enum": .array(words.map { .string($0) })]),
            read: { text throws(Refusal) in
                guard let value = Value(rawValue: text) else {
                    let near = NearestName.nearest(to: text, among: words).map { "; did you mean '\($0)'?" } ?? ""
                    throw Refusal("\(text.quoted) is not known here\(near)")
                }
                return value
            },
            show: { $0.rawValue })
    }
}

extension SettingType where Value == Secret<[UInt8]> {
    /// Bytes of a shared secret. Neither a message nor `print` shows any of it.
    static let secret = SettingType(
        name: "secret", allowed: "at least 32 random bytes, such as `openssl rand -base64 48` prints",
        schema: .members(["type": .string("string"), "minLength": .integer(32)]),
        read: { text throws(Refusal) in
            let bytes = Array(text.utf8)
            guard bytes.count >= 32 else { throw Refusal("the secret has \(bytes.count) bytes") }
            guard !SampleSecrets.contains(text) else { throw Refusal("the secret is a known sample or easy to guess") }
            return Secret(bytes)
        },
        show: { _ in "***" })
}

extension SettingType where Value == Secret<String> {
    /// A password of another service; its strength is that service's business.
    static let password = SettingType(
        name: "secret", allowed: "1 to 4096 bytes",
        schema: .members(["type": .string("string"), "minLength": .integer(1)]),
        read: { text throws(Refusal) in Secret(try SettingType<String>.text(bytesMax: 4096).read(text)) },
        show: { _ in "***" })
}

/// Secrets that stand in tutorials, or that anybody would try first.
enum SampleSecrets {
    static func contains(_ secret: String) -> Bool {
        let folded = secret.lowercased().filter { $0.isLetter || $0.isNumber }
        return Set(secret.utf8).count < distinctBytesMin || fragments.contains { folded.contains($0) }
    }

    private static let distinctBytesMin = 8
    /// Letters and digits alone, lower case.
    private static let fragments = [
        "changeme", "changeinproduction", "changethis", "replaceme", "yoursecret", "your256bitsecret",
        "yourservicesecret",
        "yourjwtsecret", "secretkeyhere", "examplesecret", "samplesecret", "devsecretkey", "supersecretkey",
        "astringsecret",
        "verysecret", "donotuse", "insecure", "placeholder", "0123456789abcdef0123456789abcdef",
        "abcdefghijklmnopqrstuvwxyz", "correcthorsebatterystaple", "passwordpassword",
    ]
}

extension [String] {
    /// `a, b or c`.
    func joined(separator: String, last: String) -> String {
        guard let final = self.last, count > 1 else { return first ?? "" }
        return dropLast().joined(separator: separator) + last + final
    }
}
