/// One setting of `gateway.yaml`, declared once.
///
/// Parsing, range check, default, environment override, `_file` variant, JSON Schema and reference page come from here.
struct Setting<Value: Sendable>: Sendable {
    let pattern: String
    let type: SettingType<Value>
    let presence: Presence<Value>
    /// The setting holds a list; a single value stands for a list of one.
    let isList: Bool
    /// The value is printed nowhere, and `key_file` may name a file that holds it.
    let isSecret: Bool
    /// A variable that many deployments set already; it counts where the file is silent.
    let alias: String?
    let help: String

    /// A setting that the file has to give.
    static func required(
        _ pattern: String, _ type: SettingType<Value>, isList: Bool = false, alias: String? = nil, help: String
    ) -> Setting {
        Setting(
            pattern: pattern, type: type, presence: .required, isList: isList, isSecret: false, alias: alias, help: help
        )
    }

    /// A setting that the file may leave out; `absent` says what holds then.
    static func optional(
        _ pattern: String, _ type: SettingType<Value>, absent: String, isList: Bool = false, isSecret: Bool = false,
        alias: String? = nil, help: String
    ) -> Setting {
        Setting(
            pattern: pattern, type: type, presence: .optional(absent), isList: isList, isSecret: isSecret, alias: alias,
            help: help)
    }

    /// A setting with a default.
    static func with(
        _ pattern: String, _ type: SettingType<Value>, default value: Value, alias: String? = nil, help: String
    ) -> Setting {
        Setting(
            pattern: pattern, type: type, presence: .defaulted(value), isList: false, isSecret: false, alias: alias,
            help: help)
    }
}

/// What holds when a setting is not given.
enum Presence<Value: Sendable>: Sendable {
    case required
    /// Told in words, since it depends on other settings or is nothing at all.
    case optional(String)
    case defaulted(Value)
}

/// What the reference page, the schema and the search for unknown keys need of a setting of any type.
protocol SettingDeclaration: Sendable {
    var pattern: String { get }
    var help: String { get }
    var summary: SettingSummary { get }
}

struct SettingSummary: Sendable {
    enum Shape: Sendable {
        case single, list
        /// A mapping with keys of its own; `word` may stand instead, such as `off`.
        case mapping(word: String?)
        /// A mapping whose keys the file chooses.
        case names
        case listOfMappings
        /// What a rule asks of a subject, nested.
        case requirement
    }
    let shape: Shape
    /// Such as `duration`.
    let typeName: String
    /// Such as `100ms to 1h`.
    let allowed: String
    let schema: JSONText
    /// What holds when it is not given, as the reference shows it.
    let absent: String
    let isRequired: Bool
    let isSecret: Bool
    let alias: String?
}

extension Setting: SettingDeclaration {
    /// The last part of the pattern.
    var key: String { SettingPattern.key(of: pattern) }

    /// `GATEWAY_` and the path with `__`; `nil` where the path holds a list or a name that the file chooses.
    var environmentName: String? { SettingPattern.environmentName(of: pattern) }

    var summary: SettingSummary {
        SettingSummary(
            shape: isList ? .list : .single, typeName: type.name, allowed: type.allowed, schema: type.schema,
            absent: absentText, isRequired: isRequired, isSecret: isSecret, alias: alias)
    }

    private var isRequired: Bool {
        guard case .required = presence else { return false }
        return true
    }

    private var absentText: String {
        switch presence {
        case .required: "required"
        case .optional(let words): words
        case .defaulted(let value): "`\(type.show(value))`"
        }
    }
}

/// A part of the file that holds settings, declared for its help and its shape.
struct SettingGroup: SettingDeclaration {
    let pattern: String
    let shape: SettingSummary.Shape
    let help: String

    init(_ pattern: String, _ shape: SettingSummary.Shape, help: String) {
        self.pattern = pattern
        self.shape = shape
        self.help = help
    }

    var summary: SettingSummary {
        SettingSummary(
            shape: shape, typeName: "", allowed: "", schema: .null, absent: "", isRequired: false, isSecret: false,
            alias: nil)
    }
}

enum SettingPattern {
    static func key(of pattern: String) -> String {
        String(pattern.split(separator: ".").last ?? "")
    }

    static func parent(of pattern: String) -> String {
        guard let dot = pattern.lastIndex(of: ".") else { return "" }
        return String(pattern[..<dot])
    }

    static func environmentName(of pattern: String) -> String? {
        guard !pattern.contains("["), !pattern.contains("<") else { return nil }
        return "GATEWAY_" + pattern.split(separator: ".").map { $0.uppercased() }.joined(separator: "__")
    }
}
