internal import IdentityModel

/// A mapping of the file on its way to a structure of `GatewayConfiguration`.
struct Section {
    let path: ConfigurationPath
    let pairs: [YAMLPair]
    let line: Int
    let column: Int
    /// Whether the file has it; settings of a section that it has not may still come from elsewhere.
    let isPresent: Bool
    /// Something else stands in its place, which has been reported: nothing in it counts as missing.
    var isRefused = false
    /// Keys that the file has in a wrong spelling, which has been reported: they do not count as missing.
    var misspelt: Set<String> = []

    func pair(_ key: String) -> YAMLPair? { pairs.first { $0.key == key } }

    var location: SourceLocation { SourceLocation(path: path.description, line: line, column: column) }

    /// The place of a key's value, or of the section where the key is missing.
    func location(of key: String) -> SourceLocation {
        let keyPath = path.key(key).description
        guard let pair = pair(key) else { return SourceLocation(path: keyPath, line: line, column: column) }
        return SourceLocation(path: keyPath, line: pair.node.line, column: pair.node.column)
    }
}

/// Reads settings out of nodes, the environment and files, and collects what is wrong with them.
///
/// The order for each value: a `GATEWAY_` variable, the file, the setting's alias in the environment, the default.
final class ConfigurationReader {
    let file: String
    let environment: [String: String]
    let files: any FileAccess
    private(set) var problems: [ConfigurationProblem] = []
    private(set) var effective: [EffectiveSetting] = []
    /// What could be read; filled on the way.
    var parts = ConfigurationParts()
    /// Every key path at or below which there is an error.
    private var unsound: Set<String> = []
    /// Key paths where something stands that could not be read as a part of the file.
    private var refused: Set<String> = []
    /// Variables that the file's `${…}` named.
    var variables: Set<String> = []
    let folder: String

    init(file: String, environment: [String: String], files: any FileAccess) {
        self.file = file
        self.environment = environment
        self.files = files
        folder = file.lastIndex(of: "/").map { String(file[...$0]) } ?? ""
    }

    // MARK: Problems

    func error(_ location: SourceLocation, _ message: String, cure: String) {
        problems.append(.init(severity: .error, file: file, location: location, message: message, cure: cure))
        let path = location.path
        unsound.insert(path)
        for end in path.indices where path[end] == "." || path[end] == "[" { unsound.insert(String(path[..<end])) }
    }

    /// Whether no error was found at a place and below it.
    func isSound(_ path: String) -> Bool { !unsound.contains(path) }
    func isSound(_ path: ConfigurationPath) -> Bool { isSound(path.description) }

    /// Whether the file has a part that could not be read, under this key or one much like it. It has been reported, and
    /// nothing that others expect of it counts as missing. To be asked after the part was read.
    func isUnread(_ key: String, in section: Section) -> Bool {
        section.isRefused || section.misspelt.contains(key) || refused.contains(section.path.key(key).description)
    }

    /// The place of a key's value; without a line where the file does not have the key.
    func place(of key: String, in section: Section) -> SourceLocation {
        guard section.pair(key) == nil else { return section.location(of: key) }
        return SourceLocation(path: section.path.key(key).description, line: 0, column: 0)
    }

    func warning(_ location: SourceLocation, _ message: String, cure: String) {
        problems.append(.init(severity: .warning, file: file, location: location, message: message, cure: cure))
    }

    func environmentProblem(
        _ severity: ConfigurationProblem.Severity, _ name: String, _ message: String, cure: String
    ) {
        let location = SourceLocation(path: name.escaped(max: 80), line: 0, column: 0)
        problems.append(
            .init(severity: severity, file: "environment", location: location, message: message, cure: cure))
    }

    // MARK: Sections

    /// A mapping below a section; an empty one where the file has none.
    func section(_ key: String, in parent: Section) -> Section {
        let path = parent.path.key(key)
        guard let pair = parent.pair(key) else {
            return Section(path: path, pairs: [], line: parent.line, column: parent.column, isPresent: false)
        }
        return section(pair.node, at: path)
    }

    /// A node that has to be a mapping; unknown keys in it are reported.
    func section(_ node: YAMLNode, at path: ConfigurationPath) -> Section {
        let location = SourceLocation(path: path.description, line: node.line, column: node.column)
        switch node.value {
        case .mapping(let pairs):
            let misspelt = checkKeys(pairs, of: path)
            return Section(
                path: path, pairs: pairs, line: node.line, column: node.column, isPresent: true, misspelt: misspelt)
        case .refused: break
        default:
            error(location, "\(node.kind) stands here", cure: "write a mapping\(known(at: path.pattern))")
        }
        refused.insert(path.description)
        return Section(path: path, pairs: [], line: node.line, column: node.column, isPresent: true, isRefused: true)
    }

    /// The members of a list of mappings.
    func sections(_ key: String, in parent: Section) -> [Section] {
        guard let pair = parent.pair(key) else { return [] }
        let path = parent.path.key(key)
        switch pair.node.value {
        case .sequence(let members):
            return members.enumerated().map { section($0.element, at: path.index($0.offset)) }
        case .refused: break
        default:
            error(
                parent.location(of: key), "\(pair.node.kind) stands here",
                cure: "write a list of mappings, each beginning with '- '")
        }
        refused.insert(path.description)
        return []
    }

    /// The pairs of a mapping whose keys the file chooses, with the path of each.
    func named(_ key: String, in parent: Section) -> [(pair: YAMLPair, path: ConfigurationPath)] {
        guard let pair = parent.pair(key) else { return [] }
        let path = parent.path.key(key)
        switch pair.node.value {
        case .mapping(let pairs): return pairs.map { ($0, path.name($0.key)) }
        case .refused: break
        default:
            error(
                parent.location(of: key), "\(pair.node.kind) stands here", cure: "write a mapping from names to values")
        }
        refused.insert(path.description)
        return []
    }

    /// Reports keys that no setting has; the keys that were probably meant.
    private func checkKeys(_ pairs: [YAMLPair], of path: ConfigurationPath) -> Set<String> {
        guard let known = SettingCatalog.shared.keys(of: path.pattern) else { return [] }
        let unknown = pairs.filter { !known.contains($0.key) }
        return Set(unknown.compactMap { unknownKey($0, in: path, known: known) })
    }

    /// Reports a key; the known one that was probably meant.
    @discardableResult
    func unknownKey(_ pair: YAMLPair, in path: ConfigurationPath, known: [String]) -> String? {
        // A file with thousands of unknown keys is no typing error.
        let nearest = problems.count < 100 ? NearestName.nearest(to: pair.key, among: known) : nil
        let near = nearest.map { "did you mean '\($0)'? " } ?? ""
        error(
            SourceLocation(path: path.key(pair.key).description, line: pair.line, column: pair.column),
            "the key \(pair.key.quoted) is unknown", cure: "\(near)known here: \(known.joined(separator: ", "))")
        return nearest
    }

    private func known(at pattern: String) -> String {
        SettingCatalog.shared.keys(of: pattern).map { " with keys such as \($0.prefix(4).joined(separator: ", "))" }
            ?? ""
    }

    // MARK: Values

    /// A value or its default.
    func value<Value>(_ setting: Setting<Value>, in section: Section) -> Value {
        guard case .defaulted(let fallback) = setting.presence else {
            preconditionFailure("\(setting.pattern) has no default")
        }
        return optional(setting, in: section, otherwise: fallback) ?? fallback
    }

    /// A value; `nil` where it is absent or wrong. `fallback` holds where it is absent, and is shown as a default.
    func optional<Value>(_ setting: Setting<Value>, in section: Section, otherwise fallback: Value? = nil) -> Value? {
        precondition(!setting.isList, "\(setting.pattern) is a list")
        let path = section.path.key(setting.key)
        switch found(setting, in: section) {
        case .absent:
            if let fallback { record(path, YAMLText.scalar(setting.type.show(fallback)), .byDefault) }
            if case .required = setting.presence { missing(setting, in: section) }
            return fallback
        case .wrong: return nil
        case .texts(let texts):
            guard let text = texts.first, let value = read(setting, text) else { return nil }
            record(path, YAMLText.scalar(setting.type.show(value)), text.origin)
            return value
        }
    }

    /// A list; `nil` where it is absent or a member is wrong. A single value stands for a list of one.
    func list<Value>(_ setting: Setting<Value>, in section: Section, mayBeEmpty: Bool = false) -> [Value]? {
        precondition(setting.isList, "\(setting.pattern) is no list")
        switch found(setting, in: section) {
        case .absent:
            if case .required = setting.presence { missing(setting, in: section) }
            return nil
        case .wrong: return nil
        case .texts(let texts):
            if texts.isEmpty, !mayBeEmpty {
                error(
                    section.location(of: setting.key), "the list is empty", cure: "give it a member, or remove the key")
                return nil
            }
            return members(setting, texts, at: section.path.key(setting.key))
        }
    }

    /// The list that a key leads to which has no pattern of its own, as under `roles` and in requirements.
    func list<Value>(_ type: SettingType<Value>, of node: YAMLNode, at path: ConfigurationPath) -> [Value]? {
        let setting = Setting.optional(path.pattern, type, absent: "", isList: true, help: "")
        guard case .texts(let texts) = texts(of: node, at: path, isList: true) else { return nil }
        let values = texts.map { read(setting, $0) }
        let whole = values.compactMap { $0 }
        return whole.count == values.count ? whole : nil
    }

    private func members<Value>(_ setting: Setting<Value>, _ texts: [SourcedText], at path: ConfigurationPath)
        -> [Value]?
    {
        let values = texts.map { read(setting, $0) }
        let whole = values.compactMap { $0 }
        guard whole.count == values.count else { return nil }
        let origin = texts.first?.origin ?? .file(file, line: 0, variables: [])
        record(path, YAMLText.list(whole.map(setting.type.show)), origin)
        return whole
    }

    func missing<Value>(_ setting: Setting<Value>, in section: Section, also: String = "") {
        guard !section.isRefused, !section.misspelt.contains(setting.key) else { return }
        error(
            section.location(of: setting.key), "the setting is missing",
            cure: "write \(setting.key): and \(setting.type.allowed)\(also)")
    }

    /// A secret, from its key or from the file that `key_file` names.
    func secret<Value>(_ setting: Setting<Value>, in section: Section) -> Value? {
        let fileSetting = Setting<String>.optional(setting.pattern + "_file", .path, absent: "", help: "")
        guard let path = optional(fileSetting, in: section) else { return optional(setting, in: section) }
        let location = section.location(of: fileSetting.key)
        guard case .absent = found(setting, in: section) else {
            error(location, "the secret is given twice", cure: "keep \(setting.key) or \(fileSetting.key)")
            return nil
        }
        guard let contents = privateFile(path, at: location, bytesMax: 65536) else { return nil }
        var bytes = contents[...]
        while let byte = bytes.last, byte == 0x0A || byte == 0x0D { bytes.removeLast() }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            error(location, "the file \(path.quoted) is not UTF-8", cure: "write the secret as text, such as base64")
            return nil
        }
        return read(setting, SourcedText(text: text, location: location, origin: .secretFile(path)))
    }

    func record(_ path: ConfigurationPath, _ text: String, _ origin: EffectiveSetting.Origin) {
        effective.append(EffectiveSetting(path: path, text: text, origin: origin))
    }
}
