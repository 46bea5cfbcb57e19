extension JSONValue {
    /// The value as UTF-8 JSON without spaces, safe within HTML and JavaScript too.
    ///
    /// Escaped are controls, `"`, `\`, `<` (so that no `</script>` appears), U+2028 and U+2029 (line ends to older
    /// JavaScript).
    public func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }

    /// Appends what `encoded()` returns.
    public func append(to bytes: inout [UInt8]) {
        switch self {
        case .null: bytes += "null".utf8
        case .bool(let value): bytes += (value ? "true" : "false").utf8
        case .number(let number): bytes += number.text.utf8
        case .string(let text): JSONValue.append(text, to: &bytes)
        case .array(let elements):
            bytes.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                element.append(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let object): object.append(to: &bytes)
        }
    }

    fileprivate static func append(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": bytes += "\\\"".utf8
            case "\\": bytes += "\\\\".utf8
            case "\n": bytes += "\\n".utf8
            case "\r": bytes += "\\r".utf8
            case "\t": bytes += "\\t".utf8
            case "\0"..<" ", "\u{7F}", "<", "\u{2028}", "\u{2029}":
                bytes += "\\u".utf8
                for shift in [12, 8, 4, 0] as [UInt32] {
                    bytes.append(hexDigits[Int(scalar.value >> shift & 0xF)])
                }
            default: bytes += UTF8.encode(scalar).map { Array($0) } ?? []
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static let hexDigits = Array("0123456789ABCDEF".utf8)
}

extension JSONObject {
    /// The object as UTF-8 JSON without spaces, escaped as `JSONValue.encoded()` does.
    public func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }

    /// Appends what `encoded()` returns.
    public func append(to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "{"))
        for (index, member) in members.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            JSONValue.append(member.name, to: &bytes)
            bytes.append(UInt8(ascii: ":"))
            member.value.append(to: &bytes)
        }
        bytes.append(UInt8(ascii: "}"))
    }
}
