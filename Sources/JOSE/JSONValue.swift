/// A JSON value (RFC 8259) as it was read, or as it is to be written.
public enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(JSONNumber)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    /// A number without fraction.
    public static func integer(_ value: Int64) -> JSONValue { .number(JSONNumber(value)) }

    /// The truth value, of a boolean alone.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The text, of a string alone.
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    /// The number, of a number alone.
    public var number: JSONNumber? { if case .number(let value) = self { value } else { nil } }
    /// The value of a number that is mathematically an integer and fits: `1`, `1.0` and `1e3`, not `1.5` nor `"1"`.
    public var int64: Int64? { number?.int64 }
    /// The elements, of an array alone.
    public var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    /// The members, of an object alone.
    public var object: JSONObject? { if case .object(let value) = self { value } else { nil } }

    /// The elements of an array that holds strings and nothing else.
    public var strings: [String]? {
        guard let array else { return nil }
        let strings = array.compactMap(\.string)
        return strings.count == array.count ? strings : nil
    }

    /// The member of an object; `nil` for every other value.
    public subscript(name: String) -> JSONValue? { object?[name] }

    /// Strings are equal when their bytes are, where Swift's own `==` would also equate canonical equivalents.
    public static func == (left: JSONValue, right: JSONValue) -> Bool {
        switch (left, right) {
        case (.null, .null): true
        case (.bool(let left), .bool(let right)): left == right
        case (.number(let left), .number(let right)): left == right
        case (.string(let left), .string(let right)): left.isSameBytes(as: right)
        case (.array(let left), .array(let right)): left == right
        case (.object(let left), .object(let right)): left == right
        default: false
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    /// A string.
    public init(stringLiteral value: String) { self = .string(value) }
    /// `true` or `false`.
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    /// An integer.
    public init(integerLiteral value: Int64) { self = .integer(value) }
    /// An array.
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    /// An object; that no name occurs twice is the caller's promise.
    public init(dictionaryLiteral elements: (String, JSONValue)...) { self = .object(JSONObject(elements)) }
}

extension String {
    /// Whether both hold the same UTF-8 bytes.
    ///
    /// `==` on strings compares by canonical equivalence: U+212A, the Kelvin sign, equals the letter K. Identifiers
    /// that others chose must not be compared that way.
    package func isSameBytes(as other: String) -> Bool { utf8.elementsEqual(other.utf8) }
}
