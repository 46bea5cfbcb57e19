/// A value that holds, and where it came from.
struct EffectiveSetting: Sendable {
    enum Origin: Sendable, Equatable {
        /// A line of the file, and the variables its text asked for.
        case file(String, line: Int, variables: [String])
        case environment(String)
        /// A file that holds a secret.
        case secretFile(String)
        case byDefault

        var description: String {
            switch self {
            case .file(let file, let line, let variables):
                "\(file):\(line)" + variables.map { " ${\($0)}" }.joined()
            case .environment(let name): "environment \(name)"
            case .secretFile(let path): "file \(path)"
            case .byDefault: "default"
            }
        }
    }

    let path: ConfigurationPath
    /// The value in YAML's flow style, secrets masked.
    let text: String
    let origin: Origin
}

/// YAML text that the loader reads back as the same value.
enum YAMLText {
    static func list(_ members: [String]) -> String { "[" + members.map(scalar).joined(separator: ", ") + "]" }

    /// A key; variables are not replaced in keys, so that a dollar is one.
    static func key(_ text: String) -> String {
        text.utf8.contains(UInt8(ascii: "$")) ? JSONText.quoted(text) : scalar(text)
    }

    /// Plain where nothing in it could mean something else, else in double quotes.
    static func scalar(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { Bytes.isLetterOrDigit($0) || "._/:-+".utf8.contains($0) }
        let beginsPlain = text.utf8.first.map {
            Bytes.isLetterOrDigit($0) || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: ".")
        }
        let isWord = !["null", "Null", "NULL"].contains(text) && !text.hasSuffix(":")
        guard isPlain, beginsPlain == true, isWord else {
            return JSONText.quoted(text.split(separator: "$", omittingEmptySubsequences: false).joined(separator: "$$"))
        }
        return text
    }
}
