/// The few ways in which text is made safe for where it stands; nothing else in an answer escapes anything.
enum AnswerText {
    /// A JSON string (RFC 8259 section 7), also safe within HTML.
    static func json(_ text: String) -> String {
        var output = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": output += "\\\""
            case "\\": output += "\\\\"
            case "<", ">", "&", "\u{2028}", "\u{2029}", "\u{0}"..."\u{1F}", "\u{7F}":
                let digits = String(scalar.value, radix: 16)
                output += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: output.unicodeScalars.append(scalar)
            }
        }
        return output + "\""
    }

    /// A JSON array of strings.
    static func json(_ texts: [String]) -> String { "[" + texts.map { json($0) }.joined(separator: ",") + "]" }

    /// Text for the content of an HTML element, or for a quoted attribute.
    static func html(_ text: String) -> String {
        var output = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": output += "&amp;"
            case "<": output += "&lt;"
            case ">": output += "&gt;"
            case "\"": output += "&quot;"
            case "'": output += "&#39;"
            default: output.unicodeScalars.append(scalar)
            }
        }
        return output
    }

    /// A quoted string of a field value (RFC 9110 section 5.6.4), which is a string of RFC 9651 as well.
    static func quoted(_ text: String) -> String {
        var output = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\":
                output += "\\"
                output.unicodeScalars.append(scalar)
            case " "..."~": output.unicodeScalars.append(scalar)
            default: output += "?"
            }
        }
        return output + "\""
    }

    /// A field value that cannot end its line: what is not printable ASCII is percent-encoded.
    static func fieldValue(_ text: String) -> String {
        guard !text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else { return text }
        var output: [UInt8] = []
        for byte in text.utf8 {
            if (0x20...0x7E).contains(byte) { output.append(byte) } else { appendEscape(of: byte, to: &output) }
        }
        return String(decoding: output, as: UTF8.self)
    }
}
