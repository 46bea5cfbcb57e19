/// One value of a YAML file with its place; what its text means is for the setting that reads it.
struct YAMLNode: Sendable {
    enum Value: Sendable {
        case scalar(text: String, isQuoted: Bool)
        case sequence([YAMLNode])
        /// In the order of the file, each key once.
        case mapping([YAMLPair])
        /// Stands where something was refused that has been reported already.
        case refused
    }

    let value: Value
    /// Line and column, counted from 1.
    let line: Int
    let column: Int

    /// Whether the file says nothing here: `key:`, `key: ~` or `key: null`.
    var isEmpty: Bool {
        guard case .scalar(let text, isQuoted: false) = value else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text)
    }

    /// The word of a plain scalar, such as `off`.
    var word: String? {
        guard case .scalar(let text, _) = value else { return nil }
        return text
    }

    /// What stands here, for messages.
    var kind: String {
        switch value {
        case .scalar: isEmpty ? "nothing" : "a single value"
        case .sequence: "a list"
        case .mapping: "a mapping"
        case .refused: "something refused"
        }
    }
}

/// A key of a mapping, its place, and what it leads to.
struct YAMLPair: Sendable {
    let key: String
    let line: Int
    let column: Int
    let node: YAMLNode
}
