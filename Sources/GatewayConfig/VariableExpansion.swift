/// Puts environment variables into a value: `${NAME}`, `${NAME:-default}`, and `$$` for a dollar.
///
/// What a variable holds is not looked at again, so that no value can bring in another variable.
enum VariableExpansion {
    struct Expanded: Equatable {
        var text: String
        /// The variables that the text asked for, in their order.
        var names: [String]
    }

    static func expand(_ text: String, environment: [String: String]) throws(Refusal) -> Expanded {
        var result = Expanded(text: "", names: [])
        var rest = text[...]
        while let dollar = rest.firstIndex(of: "$") {
            result.text += rest[..<dollar]
            rest = rest[rest.index(after: dollar)...]
            if rest.first == "$" {
                result.text += "$"
                rest = rest.dropFirst()
                continue
            }
            guard rest.first == "{", let end = rest.firstIndex(of: "}") else {
                throw Refusal("a '$' begins no ${NAME}", cure: "write $$ for a dollar")
            }
            let reference = rest[rest.index(after: rest.startIndex)..<end]
            rest = rest[rest.index(after: end)...]
            try append(reference, environment: environment, to: &result)
        }
        result.text += rest
        return result
    }

    private static func append(
        _ reference: Substring, environment: [String: String], to result: inout Expanded
    ) throws(Refusal) {
        let nameEnd = reference.firstIndex { !isNameCharacter($0) } ?? reference.endIndex
        let name = String(reference[..<nameEnd])
        let suffix = reference[nameEnd...]
        guard let first = name.first, !first.isNumber, suffix.isEmpty || suffix.hasPrefix(":-") else {
            throw Refusal("'${' begins no reference to a variable", cure: "write ${NAME} or ${NAME:-default}")
        }
        result.names.append(name)
        let value = environment[name] ?? ""
        if !value.isEmpty {
            result.text += value
        } else if suffix.isEmpty {
            guard environment[name] != nil else {
                throw Refusal("the environment has no \(name)", cure: "set it, or write ${\(name):-default}")
            }
        } else {
            result.text += suffix.dropFirst(2)
        }
    }

    private static func isNameCharacter(_ character: Character) -> Bool {
        character.isASCII && (character.isLetter || character.isNumber || character == "_")
    }
}

/// Why a text is no value of a setting.
struct Refusal: Error, Equatable {
    /// What was found. Holds no secret.
    let message: String
    /// What to do; `nil` leaves it to what the setting allows.
    let cure: String?

    init(_ message: String, cure: String? = nil) {
        self.message = message
        self.cure = cure
    }
}
