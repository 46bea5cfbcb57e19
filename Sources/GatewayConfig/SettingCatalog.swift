/// The keys that each part of the file may have, from the declarations.
struct SettingCatalog: Sendable {
    static let shared = SettingCatalog(declarations: Settings.all)

    /// Known keys by the pattern of the mapping that holds them, in the order of their declarations.
    private let keys: [String: [String]]
    /// Names of variables that override a setting.
    let environmentNames: Set<String>

    init(declarations: [any SettingDeclaration]) {
        var keys: [String: [String]] = [:]
        var names: Set<String> = []
        for declaration in declarations {
            let summary = declaration.summary
            let key = SettingPattern.key(of: declaration.pattern)
            var spellings = [key]
            if summary.isSecret { spellings.append(key + "_file") }
            keys[SettingPattern.parent(of: declaration.pattern), default: []] += spellings
            if case .single = summary.shape { names.formUnion(declaration.environmentNames) }
            if case .list = summary.shape { names.formUnion(declaration.environmentNames) }
        }
        self.keys = keys
        environmentNames = names
    }

    /// Keys that a mapping may have; `nil` where the file chooses them.
    func keys(of pattern: String) -> [String]? {
        let known = keys[pattern]
        return known?.contains("<name>") == true ? nil : known
    }
}

extension SettingDeclaration {
    /// Variables that override the setting, its `_file` variant included.
    var environmentNames: [String] {
        guard let name = SettingPattern.environmentName(of: pattern) else { return [] }
        return summary.isSecret ? [name, name + "_FILE"] : [name]
    }
}
